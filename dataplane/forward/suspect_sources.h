// Which source addresses need a closer look: those that nobody may have (packet::judge knows them), VIPs',
// and the node's own. One bit says of nearly all others that they are fine; only who begins as a suspect does
// is asked for a second one, and who shares that too is looked at, and found innocent.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/forward/vip_table.h"
#include "maglev/abi.h"
#include "maglev/rules/martian.h"

namespace linimo {

class SuspectSources {
 public:
  /// `own`: the node's addresses.
  SuspectSources(std::span<const linimo_vip> vips, std::span<const AddressWords> own) {
    for (uint32_t second = 0; second < 256; ++second) {
      for (uint32_t first = 0; first < 256; ++first) {
        if (linimo_is_martian4(first)) add_all_v4(first | second << 8);
      }
    }
    for (const linimo_vip& vip : vips) add(vip);
    for (const AddressWords& address : own) add(address);
  }

  static constexpr uint32_t kBits = 16;  // of an address that choose the bit: its first, for IPv4

  /// The first 48 bits, which a site has to itself (RFC 6177), mixed.
  static uint64_t place_v6(uint64_t high) { return (high << kBits) * LINIMO_GOLDEN_RATIO >> (64 - kBits); }

  bool contains_v4(uint32_t network_order) const {
    return near4_[network_order & 0xffff] && look_closer_v4(network_order);
  }
  bool contains_v6(const AddressWords& address) const {
    return linimo_may_be_martian6(address.high) ||
           (near6_[place_v6(address.high)] && look_closer_v6(address));
  }
  bool contains(const AddressWords& address, bool v6) const {
    return v6 ? contains_v6(address) : contains_v4(static_cast<uint32_t>(address.low >> 32));
  }

  // The bits, for the path in lanes.
  const uint64_t* near4() const { return near4_.words.data(); }
  const uint64_t* near6() const { return near6_.words.data(); }
  const uint64_t* all4() const { return all4_.words.data(); }
  const uint64_t* all6() const { return all6_.words.data(); }
  const uint64_t* ones() const { return ones_.words.data(); }

 private:
  static constexpr uint32_t kPrefix6 = 48;

  struct Bits {
    std::array<uint64_t, (1 << kBits) / 64> words{};

    bool operator[](uint64_t bit) const { return (words[bit / 64] >> bit % 64 & 1) != 0; }
    void set(uint64_t bit) { words[bit / 64] |= uint64_t{1} << bit % 64; }
    void set() { words.fill(~uint64_t{0}); }
  };

  static uint64_t place_of_one(const AddressWords& address) {
    return linimo_mix_address(address.high, address.low) >> (64 - kBits);
  }

  // In line: a call would have to be prepared for by all that never make it.
  bool look_closer_v4(uint32_t network_order) const {
    return all4_[network_order & 0xffff] || ones_[place_of_one(AddressWords::v4(network_order))];
  }
  bool look_closer_v6(const AddressWords& address) const {
    return all6_[place_v6(address.high)] || ones_[place_of_one(address)];
  }

  void add_all_v4(uint32_t first_bits) {
    near4_.set(first_bits);
    all4_.set(first_bits);
  }

  void add(const AddressWords& address) {
    if (address.is_v4())
      near4_.set(address.low >> 32 & 0xffff);
    else
      near6_.set(place_v6(address.high));
    ones_.set(place_of_one(address));
  }

  void add(const linimo_vip& vip) {
    const AddressWords address = AddressWords::v6(vip.address.bytes);
    if (vip.prefix_length == 128) return add(address);
    if (address.is_v4() && vip.prefix_length >= 96) {
      // Bits in the order of the wire; those of the prefix that lie behind the first 16 do not matter.
      const uint32_t first = uint32_t{vip.address.bytes[12]} << 8 | vip.address.bytes[13];
      const uint32_t bits = vip.prefix_length - 96;
      const uint32_t count = bits >= kBits ? 1 : 1U << (kBits - bits);
      for (uint32_t at = first; at < first + count; ++at)
        add_all_v4(__builtin_bswap16(static_cast<uint16_t>(at)));
    } else if (vip.prefix_length >= kPrefix6) {
      near6_.set(place_v6(address.high));
      all6_.set(place_v6(address.high));
    } else {
      near6_.set();
      all6_.set();
    }
  }

  Bits near4_, near6_;  // there is a suspect that begins so
  Bits all4_, all6_;    // all that begin so are
  Bits ones_;           // those that are suspected one by one
};

}  // namespace linimo
