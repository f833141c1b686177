// Which packet comes next: frames of one service set and one order of flows.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace linimo::bench {

enum class Order : uint8_t {
  kUniform,   // any flow as likely as another
  kZipf,      // the k-th flow as likely as 1/k: few elephants, many mice
  kInTurn,    // one after the other, again and again
  kNeverSeen  // each packet a flow of its own
};

enum class Sizes : uint8_t {
  kShortest,  // 64 bytes on the wire, 78 for IPv6
  kImix       // 7 of 64 bytes, 4 of 594, 1 of 1518
};

/// Numbers of flows, in the order in which their packets come. Shared: a schedule is a few megabytes.
class Schedule {
 public:
  static constexpr uint32_t kLength = 1 << 22;
  static std::shared_ptr<const Schedule> make(Order order, uint64_t flows);
  uint32_t operator[](uint64_t at) const { return flows_[at % kLength]; }

 private:
  std::vector<uint32_t> flows_;
};

struct TrafficSpec {
  bool v6 = false;
  bool syn = false;  // else an ACK
  bool for_a_vip = true;
  uint16_t port = 80;
  uint32_t first_service = 0;
  uint32_t services = 1;  // VIPs, by turns of the flows
  uint64_t flows = 1;
  Order order = Order::kUniform;
  Sizes sizes = Sizes::kShortest;
  uint32_t first_flow = 0;  // flows of other numbers are others
};

class Traffic {
 public:
  static constexpr uint32_t kHeaderBytes = 80;

  explicit Traffic(const TrafficSpec& spec);

  /// The next packet's headers to `frame`, of which 64 bytes are written, of IPv6 kHeaderBytes; returns the
  /// frame's length, without the checksum behind it.
  uint16_t write_next(uint8_t* frame);

  /// The next `packets` are of the flows in turn, from the first on, whatever the order; so each is seen.
  void in_turn_for(uint64_t packets) {
    in_turn_left_ = spec_.order == Order::kNeverSeen ? 0 : packets;
    next_in_turn_ = 0;
  }
  const TrafficSpec& spec() const { return spec_; }

 private:
  TrafficSpec spec_;
  std::array<uint8_t, kHeaderBytes> headers_{};
  uint16_t length_ = 0;
  uint32_t checksum_base_ = 0;
  std::shared_ptr<const Schedule> schedule_;
  uint64_t next_ = 0;
  uint64_t next_in_turn_ = 0;
  uint64_t in_turn_left_ = 0;
};

/// The VIP of a service, IPv4, host byte order; of IPv6 the last four bytes behind 2001:db8:f::.
inline constexpr uint32_t kFirstVip = 0xc6120000;  // 198.18.0.0

}  // namespace linimo::bench
