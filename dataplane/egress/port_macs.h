// The ports' own MAC addresses: what a frame must be addressed to, and what every frame that leaves carries.
// Workers read them; the control thread may write a port's anew at any time, since a device's can change.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/egress/next_hop.h"

namespace linimo {

inline constexpr uint32_t kMaxPorts = 8;

class PortMacs {
 public:
  void store(uint32_t port, const Mac& mac) {
    uint64_t word = 0;
    for (size_t i = 0; i < mac.size(); ++i) word |= uint64_t{mac[i]} << (8 * i);
    words_[port].store(word, std::memory_order_relaxed);
  }

  /// As it lies in memory, in the first six bytes; the other two are zero.
  uint64_t load(uint32_t port) const { return words_[port].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kMaxPorts> words_{};
};

}  // namespace linimo
