// The Internet checksum (RFC 1071), as sums that are folded at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "maglev/rules/checksum.h"

namespace linimo::packet {

/// One's complement sum over `length` bytes, in the byte order of memory; not yet folded. `length` at most 64
/// KiB.
inline uint64_t checksum_add(const void* data, size_t length, uint64_t sum = 0) {
  const auto* at = static_cast<const uint8_t*>(data);
  for (; length >= 4; length -= 4, at += 4) {
    uint32_t word;
    std::memcpy(&word, at, 4);
    sum += word;
  }
  if (length >= 2) {
    uint16_t word;
    std::memcpy(&word, at, 2);
    sum += word;
    at += 2;
    length -= 2;
  }
  if (length == 1) sum += *at;  // the low byte comes first in memory
  return sum;
}

inline uint16_t checksum_fold(uint64_t sum) {
  return linimo_checksum_fold(sum);
}

/// The value of a checksum field (network byte order) over data in which that field is zero.
inline uint16_t checksum_finish(uint64_t sum) {
  return linimo_checksum_finish(sum);
}

/// Is the checksum inside `data` right?
inline bool checksum_holds(const void* data, size_t length) {
  return checksum_fold(checksum_add(data, length)) == 0xffff;
}

}  // namespace linimo::packet
