// Whether an address is one of a set, for packets that may be many: a hash and, mostly, one look.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "maglev/address_words.h"
#include "maglev/rules/address.h"

namespace linimo {

class AddressSet {
 public:
  /// `most`: addresses that will be added.
  explicit AddressSet(size_t most)
      : places_(std::bit_ceil(2 * std::max<size_t>(most, 1))),
        shift_(64 - std::countr_zero(places_.size())) {}

  /// Not the unspecified one, which stands for an empty place.
  void add(const AddressWords& address) { places_[place_of(address)] = address; }
  bool contains(const AddressWords& address) const {
    return address != AddressWords{} && places_[place_of(address)] == address;
  }

 private:
  /// Where it is, or would be. There always is an empty place.
  size_t place_of(const AddressWords& address) const {
    size_t place = linimo_mix_address(address.high, address.low) >> shift_;
    while (places_[place] != AddressWords{} && places_[place] != address)
      place = (place + 1) & (places_.size() - 1);
    return place;
  }

  std::vector<AddressWords> places_;
  int shift_;
};

}  // namespace linimo
