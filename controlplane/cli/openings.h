// What clients send again, out of the packets that a capture tells of: SYNs (and whether their checksums are
// finished), and segments that were too big for the tunnel. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

namespace linimo {

struct Openings {
  struct OfBackend {
    uint64_t begun = 0;     // connections of which a SYN was seen
    uint64_t repeated = 0;  // of which the same SYN came again
  };
  std::map<std::string, OfBackend> backends;  // by POOL/ADDRESS
  uint64_t begun = 0;                         // to whichever backend, or none
  uint64_t unfinished = 0;  // of which the checksum was that of the pseudo header alone (left to a NIC)
  std::string unfinished_packet, unfinished_interface;  // the first of them
};

/// When a segment came first, and whether it has come again.
struct RepeatedSegment {
  uint64_t time_ns = 0;
  bool repeated = false;

  /// It comes once more: true the first time, unless that is too soon for its sender to have waited.
  bool again(uint64_t now_ns);
};

class OpeningWatch {
 public:
  /// Which packets it wants, in pcap's words.
  static constexpr const char* kFilter = "(tcp[13] & 0x12 == 2) or (ip6[6] == 6 and ip6[53] & 0x12 == 2)";

  static constexpr uint32_t kRate = 1000;  // packets a second of each worker

  /// A packet as POST /v1/capture tells of it. What is no whole SYN is left out.
  void take(const nlohmann::json& packet);
  const Openings& seen() const { return seen_; }

 private:
  Openings seen_;
  std::map<std::string, RepeatedSegment>
      flows_;  // by addresses, ports and sequence number, as they lie in the packet
};

/// Segments that were too big, and whose senders were told so.
struct TooBig {
  uint64_t told = 0;
  uint64_t again = 0;  // of which the same came again, as long as before
  std::string packet;  // the first of these
};

class TooBigWatch {
 public:
  /// Shorter ones fit into all but the narrowest ways.
  static constexpr const char* kFilter = "greater 1295 and (tcp or ip6 proto 6)";
  static constexpr uint32_t kRate = 10'000;  // beside other large packets, the more the better

  void take(const nlohmann::json& packet);
  const TooBig& seen() const { return seen_; }

 private:
  TooBig seen_;
  std::map<std::string, RepeatedSegment> segments_;
};

}  // namespace linimo
