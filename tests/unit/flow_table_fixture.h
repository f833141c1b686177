// A connection table with memory of its own, and hashes of flows by number.
#pragma once

#include <random>
#include <vector>

#include "dataplane/flow/connection_table.h"
#include "dataplane/flow/flow_tables.h"

namespace linimo {

struct FlowTableFixture {
  struct alignas(64) Line {
    std::byte bytes[64];
  };

  explicit FlowTableFixture(uint64_t flows)
      : memory(ConnectionTable::bytes_for(flows) / sizeof(Line)),
        table(flows, std::span(memory.data()->bytes, memory.size() * sizeof(Line))) {}

  static uint64_t hash(uint64_t number) { return std::mt19937_64(number)(); }
  FlowTable view(uint32_t row = 0) const { return {row, table.words(), table.buckets()}; }

  std::vector<Line> memory;
  ConnectionTable table;
};

}  // namespace linimo
