// Whether an address may be among a set: one word says no of nearly all that are not. For what may be wrong
// now and then, as who is served first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "maglev/address_words.h"
#include "maglev/rules/address.h"

namespace linimo {

class AddressFilter {
 public:
  explicit AddressFilter(size_t most)
      : shift_(64 - std::bit_width(std::bit_ceil(std::max<size_t>(most, 4) * kBitsEach) - 1)),
        words_((size_t{1} << (64 - shift_)) / 64) {}

  void add(const AddressWords& address) {
    const uint64_t bit = place(address);
    words_[bit / 64] |= uint64_t{1} << bit % 64;
  }
  bool may_contain(const AddressWords& address) const {
    const uint64_t bit = place(address);
    return (words_[bit / 64] >> bit % 64 & 1) != 0;
  }

 private:
  static constexpr size_t kBitsEach = 16;  // of strangers one in so many, at most, is taken for a member

  uint64_t place(const AddressWords& address) const {
    return linimo_mix_address(address.high, address.low) >> shift_;
  }

  int shift_;
  std::vector<uint64_t> words_;
};

}  // namespace linimo
