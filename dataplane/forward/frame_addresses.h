// The addresses of a frame whose IP header has been located.
#pragma once

#include "dataplane/packet/parse.h"
#include "maglev/address_words.h"

namespace linimo {

inline AddressWords source_of(const packet::Frame& frame) {
  return frame.is_v6 ? AddressWords::v6(frame.v6().source) : AddressWords::v4(frame.v4().source);
}

inline AddressWords destination_of(const packet::Frame& frame) {
  return frame.is_v6 ? AddressWords::v6(frame.v6().destination) : AddressWords::v4(frame.v4().destination);
}

}  // namespace linimo
