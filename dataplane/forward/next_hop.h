// Where the packets for each backend leave: written by the control thread as routes and neighbours change,
// read by every worker. Indexed by backend id, which outlives generations, so that a new table need not
// resolve again.
//
// Each field is one atomic word and each is right by itself, so no order between them is needed: a packet
// that sees a new MAC with the old MTU is a packet that left a moment earlier.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "maglev/abi.h"

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
  enum State : uint8_t { kNoRoute, kUnresolved, kWrongEgress, kResolved };

  State state = kNoRoute;
  uint8_t port = 0;               // index among the engine's ports
  Mac mac{};                      // of the next hop
  uint16_t mtu = 1500;            // of the route, for the outer IP packet
  std::array<VlanTag, 2> tags{};  // of the route's device, outermost first

  auto operator<=>(const NextHop&) const = default;
};

class NextHopTable {
 public:
  NextHopTable()
      : words_(new std::atomic<uint64_t>[LINIMO_MAX_BACKEND_IDS]()),
        mtus_(new std::atomic<uint16_t>[LINIMO_MAX_BACKEND_IDS]()),
        tags_(new std::atomic<uint64_t>[LINIMO_MAX_BACKEND_IDS]()) {}

  void store(uint32_t backend_id, const NextHop& hop) {
    uint64_t word = 0;
    uint64_t tags = 0;
    for (const VlanTag& tag : hop.tags) tags = tags << 32 | uint64_t{tag.tpid} << 16 | tag.control;
    tags_[backend_id].store(tags, std::memory_order_relaxed);
    for (const uint8_t byte : hop.mac) word = word << 8 | byte;
    mtus_[backend_id].store(hop.mtu, std::memory_order_relaxed);
    words_[backend_id].store(word << 16 | uint64_t{hop.port} << 8 | hop.state, std::memory_order_relaxed);
  }

  NextHop load(uint32_t backend_id) const {
    const uint64_t word = words_[backend_id].load(std::memory_order_relaxed);
    NextHop hop;
    hop.state = static_cast<NextHop::State>(word & 0xff);
    hop.port = static_cast<uint8_t>(word >> 8);
    hop.mtu = mtus_[backend_id].load(std::memory_order_relaxed);
    for (int i = 0; i < 6; ++i) hop.mac[i] = static_cast<uint8_t>(word >> (56 - 8 * i));
    const uint64_t tags = tags_[backend_id].load(std::memory_order_relaxed);
    for (int i = 0; i < 2; ++i) {
      hop.tags[i] = {static_cast<uint16_t>(tags >> (48 - 32 * i)),
                     static_cast<uint16_t>(tags >> (32 - 32 * i))};
    }
    return hop;
  }

 private:
  std::unique_ptr<std::atomic<uint64_t>[]> words_;
  std::unique_ptr<std::atomic<uint16_t>[]> mtus_;
  std::unique_ptr<std::atomic<uint64_t>[]> tags_;
};

}  // namespace linimo
