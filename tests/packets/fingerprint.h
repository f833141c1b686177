// Whether memory has changed.
#pragma once

#include <cstddef>
#include <cstdint>

#include <xxhash.h>

#include "maglev/counters.h"

namespace linimo::tests {

class Fingerprint {
 public:
  void add(const void* memory, size_t size) { value_ = XXH3_64bits_withSeed(memory, size, value_); }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0;
};

/// Bytes of a worker's counters that the suite's services and backends have: ids are small, counters many.
constexpr size_t counters_of_the_suite() {
  return offsetof(WorkerCounters, backends) + 1024 * sizeof(TrafficCount);
}

}  // namespace linimo::tests
