// From what is configured and what is healthy to what shall be live.
//
// A pool's table is populated again only when its members changed: with a hundred pools and one backend that
// failed, one table is computed and the others are copied.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "controlplane/config/config.h"
#include "controlplane/health/backend_health.h"
#include "controlplane/tables/ids.h"
#include "maglev/snapshot.h"

namespace linimo {

/// The state a backend gets in the tables. One of which nothing is known yet is left out of them, not put in
/// as down; one that is healthy and has no weight is draining.
std::optional<linimo_backend_state> table_state(HealthState health, uint32_t weight);

class Planner {
 public:
  using StateOf = std::function<HealthState(const BackendKey&)>;

  /// `ids` must hold every name of the configuration.
  SnapshotSpec plan(const Config& config, const StateOf& state_of, const Ids& ids, uint64_t generation);

  /// The fraction of its pool's slots that a backend has in the last plan; 0 when it has none.
  double share(const BackendKey& backend) const;

  /// Of the pool's table in the last plan; 0 when it has none.
  uint64_t digest(const std::string& pool) const;

 private:
  struct Cached {
    std::shared_ptr<const PoolTable> table;
    std::vector<uint32_t> slots_of_member;
  };

  std::shared_ptr<const PoolTable> table_for(const PoolConfig& pool,
                                             const std::vector<BackendSpec>& backends);

  std::map<std::string, Cached> tables_;  // by pool
};

}  // namespace linimo
