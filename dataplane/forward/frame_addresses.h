// The addresses of a frame whose IP header has been located, and hashes of them.
#pragma once

#include "dataplane/packet/parse.h"
#include "maglev/address_words.h"
#include "maglev/hash.h"

namespace linimo {

inline AddressWords source_of(const packet::Frame& frame) {
  return frame.is_v6 ? AddressWords::v6(frame.v6().source) : AddressWords::v4(frame.v4().source);
}

inline AddressWords destination_of(const packet::Frame& frame) {
  return frame.is_v6 ? AddressWords::v6(frame.v6().destination) : AddressWords::v4(frame.v4().destination);
}

/// `end`: linimo_key_end() and the like. `destination`: null where the source alone counts.
inline uint64_t hash_of(const uint8_t* source, const uint8_t* destination, uint64_t end, bool v6,
                        uint64_t seed) {
  if (v6) {
    uint64_t addresses[4]{};
    std::memcpy(addresses, source, 16);
    if (destination != nullptr) std::memcpy(addresses + 2, destination, 16);
    return flow_hash6(addresses, end, seed);
  }
  const uint64_t to = destination != nullptr ? packet::load32(destination) : 0;
  return flow_hash4(packet::load32(source) | to << 32, end, seed);
}

/// Of a frame's own addresses.
inline uint64_t hash_of(const packet::Frame& frame, uint64_t end, uint64_t seed) {
  const uint8_t* source =
      frame.ip + (frame.is_v6 ? offsetof(packet::Ipv6, source) : offsetof(packet::Ipv4, source));
  return hash_of(source, source + (frame.is_v6 ? 16 : 4), end, frame.is_v6, seed);
}

}  // namespace linimo
