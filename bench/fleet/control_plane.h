// What the nodes' control planes make of the backends: one table, and a service for each way of tracking, so
// that all of them have the same slots at any time. Where flows are shared a base counts for longer, so that
// service has the same backends once more in a pool of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bench/fleet/settings.h"
#include "controlplane/tables/learning.h"
#include "maglev/snapshot.h"

namespace linimo::fleet {

using Snapshot = std::shared_ptr<const std::vector<std::byte>>;

/// The pool as health checks and operators have left it. A backend's id is its number.
class Pool {
 public:
  explicit Pool(const Settings& settings);

  void set_state(uint32_t backend, linimo_backend_state state) { of_[backend].state = state; }
  void set_weight(uint32_t backend, uint32_t weight) { of_[backend].weight = weight; }
  const BackendSpec& operator[](uint32_t backend) const { return of_[backend]; }
  uint32_t size() const { return static_cast<uint32_t>(of_.size()); }

  /// In the order and with the table that the planner would give them.
  PoolSpec spec();

 private:
  std::vector<BackendSpec> of_;
  uint32_t table_size_;
  std::shared_ptr<const PoolTable> table_;
};

/// Knows the sequence of tables, and so which slots learn. Nodes that have seen the same sequence have the
/// same snapshots, and share one of these.
class ControlPlane {
 public:
  explicit ControlPlane(const Settings& settings) : settings_(settings) {}

  /// The next generation.
  SnapshotSpec plan(const PoolSpec& pool, uint32_t now_ms);
  Snapshot snapshot(const PoolSpec& pool, uint32_t now_ms) {
    return std::make_shared<const std::vector<std::byte>>(build_snapshot(plan(pool, now_ms)));
  }

 private:
  const Settings& settings_;
  Learning learning_;
  uint64_t generation_ = 0;
};

}  // namespace linimo::fleet
