// How connections begin, out of the SYNs that a capture tells of: which repeat, and whether their checksums
// are finished. Pure.
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

class OpeningWatch {
 public:
  /// Which packets it wants, in pcap's words.
  static constexpr const char* kFilter = "(tcp[13] & 0x12 == 2) or (ip6[6] == 6 and ip6[53] & 0x12 == 2)";

  /// A packet as POST /v1/capture tells of it. What is no whole SYN is left out.
  void take(const nlohmann::json& packet);
  const Openings& seen() const { return seen_; }

 private:
  struct First {
    uint64_t time_ns = 0;
    bool repeated = false;
  };

  Openings seen_;
  std::map<std::string, First> flows_;  // by addresses, ports and sequence number, as they lie in the packet
};

}  // namespace linimo
