// Where the packets for each backend leave: written by the control thread as routes and neighbours change,
// read by every worker. Indexed by backend id, which outlives generations, so that a new table need not
// resolve again.
//
// Each field is one atomic word and each is right by itself, so no order between them is needed: a packet
// that sees a new MAC with the old MTU is a packet that left a moment earlier.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "maglev/abi.h"
#include "maglev/next_hop.h"
#include "maglev/rules/next_hop.h"

namespace linimo {

using Mac = std::array<uint8_t, 6>;

/// A tag in front of the EtherType, host byte order: TPID (0x8100: 802.1Q, 0x88a8: 802.1ad) and control
/// information.
struct VlanTag {
  uint16_t tpid = 0;  // 0: no tag
  uint16_t control = 0;

  auto operator<=>(const VlanTag&) const = default;
};

struct NextHop {
  enum State : uint8_t {
    kNoRoute = LINIMO_NEXT_HOP_NO_ROUTE,
    kUnresolved = LINIMO_NEXT_HOP_UNRESOLVED,
    kWrongEgress = LINIMO_NEXT_HOP_WRONG_EGRESS,
    kResolved = LINIMO_NEXT_HOP_RESOLVED
  };

  State state = kNoRoute;
  uint8_t port = 0;               // index among the engine's ports
  Mac mac{};                      // of the next hop
  uint16_t mtu = 1500;            // of the route, for the outer IP packet
  std::array<VlanTag, 2> tags{};  // of the route's device, outermost first

  auto operator<=>(const NextHop&) const = default;
};

/// A view over one record for each possible backend id. The memory is heap unless the owner of other memory
/// (a map that a BPF program reads) hands it in.
class NextHopTable {
 public:
  /// `records`: LINIMO_MAX_BACKEND_IDS of them.
  explicit NextHopTable(std::shared_ptr<linimo_next_hop[]> records =
                            std::make_shared<linimo_next_hop[]>(LINIMO_MAX_BACKEND_IDS))
      : records_(std::move(records)) {}

  void store(uint32_t backend_id, const NextHop& hop) {
    __u64 way = uint64_t{hop.port} << LINIMO_NEXT_HOP_PORT_SHIFT | uint64_t{hop.state}
                                                                       << LINIMO_NEXT_HOP_STATE_SHIFT;
    for (size_t i = 0; i < hop.mac.size(); ++i) way |= uint64_t{hop.mac[i]} << (8 * i);
    std::array<uint16_t, 4> wire{};
    for (size_t i = 0; i < hop.tags.size(); ++i) {
      wire[2 * i] = __builtin_bswap16(hop.tags[i].tpid);
      wire[2 * i + 1] = __builtin_bswap16(hop.tags[i].control);
    }
    linimo_next_hop& record = records_[backend_id];
    std::atomic_ref(record.tags).store(std::bit_cast<__u64>(wire), std::memory_order_relaxed);
    std::atomic_ref(record.mtu).store(hop.mtu, std::memory_order_relaxed);
    std::atomic_ref(record.way).store(way, std::memory_order_relaxed);
    if (on_store_) on_store_(backend_id);
  }

  /// Whoever keeps copies is told what to copy anew, on the thread that stores.
  void on_store(std::function<void(uint32_t backend_id)> tell) { on_store_ = std::move(tell); }

  /// As it stands in memory.
  class Raw {
   public:
    Raw(uint64_t way, uint64_t tags, uint32_t mtu) : way_(way), tags_(tags), mtu_(mtu) {}

    NextHop::State state() const { return static_cast<NextHop::State>(linimo_next_hop_state_of(way_)); }
    uint8_t port() const { return static_cast<uint8_t>(linimo_next_hop_port(way_)); }
    uint32_t mtu() const { return mtu_; }
    uint64_t way() const { return way_; }    // all of these, as in linimo_next_hop
    uint64_t mac() const { return way_; }    // the word's first six bytes, as on the wire
    uint64_t tags() const { return tags_; }  // as on the wire, outermost first
    uint32_t tags_length() const { return linimo_tags_length(tags_); }

   private:
    uint64_t way_, tags_;
    uint32_t mtu_;
  };

  Raw load(uint32_t backend_id) const {
    linimo_next_hop& record = records_[backend_id];
    const auto read = [](auto& word) { return std::atomic_ref(word).load(std::memory_order_relaxed); };
    return {read(record.way), read(record.tags), read(record.mtu)};
  }

 private:
  std::shared_ptr<linimo_next_hop[]> records_;
  std::function<void(uint32_t)> on_store_;
};

}  // namespace linimo
