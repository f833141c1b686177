// An address as the packet path compares it, in both engines.
#pragma once

#include <cstdint>
#include <cstring>

#include "maglev/rules/address.h"

namespace linimo {

/// An address as two words, in the byte order of memory, so that loading one costs nothing.
struct AddressWords {
  uint64_t high = 0;
  uint64_t low = 0;

  static AddressWords v4(uint32_t network_order) { return {0, LINIMO_V4_LOW(network_order)}; }
  static AddressWords v6(const uint8_t* bytes) {
    AddressWords words;
    std::memcpy(&words.high, bytes, 8);
    std::memcpy(&words.low, bytes + 8, 8);
    return words;
  }
  bool is_v4() const { return linimo_is_v4(high, low) != 0; }
  bool operator==(const AddressWords&) const = default;
};

inline AddressWords mask_words(uint32_t length) {
  return {linimo_high_mask(length), linimo_low_mask(length)};
}

}  // namespace linimo
