// Where the workers' connection tables and fragment memory lie: in memory that outlives the process
// (kept_memory.h) where there can be such, else in DPDK's and the process's own; and what is said of it.
//
// Control thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/conditions.h"
#include "dataplane/dpdk/kept_memory.h"
#include "dataplane/flow/flow_state.h"
#include "dataplane/forward/generation.h"
#include "maglev/config/node.h"

namespace linimo::dpdk {

class TableMemory {
 public:
  using Allocate = Generation::Memory (*)(size_t bytes);

  /// `spread`: KeptFlows::Shape's. Keeps the condition `flows-kept`. The error says what to do.
  static tl::expected<TableMemory, std::string> make(const NodeConfig& config, uint64_t spread,
                                                     Allocate allocate, ConditionBoard& board);

  /// A worker's, in its part of it.
  FlowState flows_of(uint32_t worker) const;

  /// Before the first generation is published: takes over what an earlier process has left in the tables.
  void take_over(const SnapshotView& view, uint64_t now_ms, std::span<FlowState> flows);

  /// After each publication.
  void note(const SnapshotView& view, uint32_t now_s);
  /// About once a second, and at the end. Sees whether the next process will find them.
  void note(uint32_t now_s, ConditionBoard& board);

 private:
  TableMemory() = default;

  uint64_t flows_ = 0;  // room of each table
  std::optional<KeptMemory> kept_;
  std::vector<Generation::Memory> own_;  // where nothing is kept
  bool taken_over_ = false;
};

}  // namespace linimo::dpdk
