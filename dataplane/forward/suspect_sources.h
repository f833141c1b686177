// Which source addresses need a closer look: those that nobody may have (packet::judge knows them), and
// VIPs'. One bit says of nearly all others that they are fine; whoever shares a bit with a suspect is looked
// at as well, and found innocent.
#pragma once

#include <bitset>
#include <cstdint>
#include <span>

#include "dataplane/forward/vip_table.h"
#include "maglev/abi.h"

namespace linimo {

class SuspectSources {
 public:
  explicit SuspectSources(std::span<const linimo_vip> vips) {
    for (uint32_t second = 0; second < 256; ++second) {
      for (uint32_t first = 224; first < 256; ++first) v4_.set(first | second << 8);
      for (const uint32_t first : {0, 127}) v4_.set(first | second << 8);
    }
    for (const linimo_vip& vip : vips) add(vip);
  }

  bool contains_v4(uint32_t network_order) const { return v4_[network_order & 0xffff]; }
  bool contains_v6(uint64_t high) const {
    // Unspecified, loopback, IPv4-mapped; multicast.
    return high == 0 || (high & 0xff) == 0xff || v6_[place_v6(high)];
  }

 private:
  static constexpr uint32_t kBits = 16;  // of an address that choose the bit: its first, for IPv4
  static constexpr uint32_t kPrefix6 = 48;

  /// The first 48 bits, which a site has to itself (RFC 6177), mixed.
  static uint64_t place_v6(uint64_t high) { return (high << kBits) * 0x9e3779b97f4a7c15 >> (64 - kBits); }

  void add(const linimo_vip& vip) {
    const AddressWords address = AddressWords::v6(vip.address.bytes);
    if (address.is_v4()) {
      // Bits in the order of the wire; those of the prefix that lie behind the first 16 do not matter.
      const uint32_t first = uint32_t{vip.address.bytes[12]} << 8 | vip.address.bytes[13];
      const uint32_t bits = vip.prefix_length - 96;
      const uint32_t count = bits >= kBits ? 1 : 1U << (kBits - bits);
      for (uint32_t at = first; at < first + count; ++at)
        v4_.set(__builtin_bswap16(static_cast<uint16_t>(at)));
    } else if (vip.prefix_length >= kPrefix6) {
      v6_.set(place_v6(address.high));
    } else {
      v6_.set();
    }
  }

  std::bitset<1 << kBits> v4_, v6_;
};

}  // namespace linimo
