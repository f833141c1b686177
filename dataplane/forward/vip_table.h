// Which VIP, if any, an address belongs to: the longest matching prefix.
//
// An open-addressing hash of (address, prefix length); a lookup probes once for each prefix length in use,
// which in most configurations is one: the host's own.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "maglev/abi.h"
#include "maglev/address_words.h"
#include "maglev/rules/address.h"

namespace linimo {

class VipTable {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  VipTable() : VipTable(std::span<const linimo_vip>{}) {}
  explicit VipTable(std::span<const linimo_vip> vips) {
    slots_.resize(std::bit_ceil(vips.size() * 4 + 4));
    mask_ = slots_.size() - 1;
    for (uint32_t i = 0; i < vips.size(); ++i) {
      const AddressWords address = AddressWords::v6(vips[i].address.bytes);
      add_length(vips[i].prefix_length, vips[i].prefix_length >= 96 && address.is_v4());
      uint64_t at = place(address, vips[i].prefix_length);
      while (slots_[at].index != kNone) at = (at + 1) & mask_;
      slots_[at] = {address, vips[i].prefix_length, i};
    }
  }

  /// Index of the VIP, or kNone.
  uint32_t find(const AddressWords& address) const {
    for (const Length& length : address.is_v4() ? v4_ : v6_) {
      const AddressWords masked{address.high & length.mask.high, address.low & length.mask.low};
      for (uint64_t at = place(masked, length.bits);; at = (at + 1) & mask_) {
        const Slot& slot = slots_[at];
        if (slot.index == kNone) break;
        if (slot.address == masked && slot.length == length.bits) return slot.index;
      }
    }
    return kNone;
  }

 private:
  struct Slot {
    AddressWords address;
    uint32_t length = 0;
    uint32_t index = kNone;
  };
  struct Length {
    uint32_t bits;
    AddressWords mask;
  };

  void add_length(uint32_t bits, bool v4) {  // VIPs come sorted, longest first
    auto& lengths = v4 ? v4_ : v6_;
    if (lengths.empty() || lengths.back().bits != bits) lengths.push_back({bits, mask_words(bits)});
  }

  uint64_t place(const AddressWords& address, uint32_t bits) const {
    return linimo_place_of_vip(address.high, address.low, bits) & mask_;
  }

  std::vector<Slot> slots_;
  uint64_t mask_;
  std::vector<Length> v4_, v6_;
};

}  // namespace linimo
