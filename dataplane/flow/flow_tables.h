// The connection tables of an engine, as others than their owners read them: word by word, each right by
// itself, while the owners go on.
#pragma once

#include <cstdint>
#include <vector>

#include "maglev/rules/flow_entry.h"

namespace linimo {

struct FlowTable {
  using Word = uint64_t __attribute__((may_alias));

  uint32_t row = 0;  // of the worker or receive queue that it belongs to
  const Word* words = nullptr;
  uint64_t buckets = 0;

  uint64_t size() const { return buckets * LINIMO_FLOW_BUCKET; }
  uint64_t at(uint64_t index) const { return __atomic_load_n(words + index, __ATOMIC_RELAXED); }
};

struct FlowTables {
  linimo_clock clock = LINIMO_SECONDS;
  uint32_t now = 0;  // of that clock
  std::vector<FlowTable> tables;
};

/// An entry as it was seen.
struct FlowPlace {
  uint32_t row = 0;
  uint64_t index = 0;  // of its word
  uint64_t word = 0;
};

}  // namespace linimo
