// A copy of what the controller knows, for the thread that serves requests: plain data that nobody changes
// any more. Pages are made from it (views.h, metrics/metrics.h) without holding up the loop that decides.
//
// What the loop does for a copy is bounded: the configuration is shared, counters are read by whoever makes a
// page, and the states of backends, of which there may be a quarter of a million, are copied in slices
// (inquiry.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controlplane/controller.h"

namespace linimo {

struct BackendState {
  std::optional<uint32_t> id;
  Standing standing{HealthState::kUnknown};
  std::optional<DrainWatch::Progress> drain;  // none: it does not, or the data plane does not know yet
  bool drained_by_operator = false;
  double share = 0;                   // of its pool's slots
  const char* way_problem = nullptr;  // why the data plane has no way to it; a literal
  std::string detail;                 // of its last check
  CheckCounts checks;
};

struct PoolState {
  bool panics = false;
  uint64_t digest = 0;  // of its table
};

struct AnnounceState {
  DrainPhase phase = DrainPhase::kServing;
  std::set<VipRoute> routes;
  std::string failure;
  BirdState bird;
};

struct FleetState {
  std::string name;
  bool store_in_reach = false;
  bool leads = false;
  size_t nodes = 0;
  FleetMember::SharedCounts shared;    // flows that nodes told each other of
  fleet::TableId table;                // that the data plane forwards by
  std::map<std::string, bool> alarms;  // every kind, by name
};

struct NodeState {
  std::shared_ptr<const Config> config;
  std::optional<DataplanePeer> peer;
  std::optional<CountersView> counters;
  bool connected = false;
  bool up_to_date = false;
  bool health_known = false;
  uint64_t generation = 0;
  uint64_t digest = 0;
  uint32_t seed_check = 0;  // of the hash seed: equal where that is equal, and does not tell it
  std::string last_refusal;
  std::string loaded_at;
  std::optional<std::string> last_error;
  std::vector<std::string> restart_needed;
  std::set<std::string> pools_in_panic;
  Serving serving;
  std::map<Conditions::Key, Condition> conditions;
  size_t backends_without_way = 0;
  std::optional<AnnounceState> announce;             // none: there is no [announce] section
  std::optional<FleetState> fleet;                   // none: there is no [fleet] section
  std::vector<PoolState> pools;                      // as in the configuration
  std::vector<std::optional<uint32_t>> service_ids;  // the same
  size_t free_backend_ids = 0;
  size_t free_service_ids = 0;

  /// Of the configuration's backends, pool by pool, from the `first` on; as many as were asked for.
  size_t first_backend = 0;
  std::vector<BackendState> backends;
};

size_t backend_count(const Config& config);

/// Calls visit(pool, backend, state) for each backend that the state holds.
template <typename Visit>
void for_each_backend(const NodeState& state, Visit visit) {
  size_t first = 0;  // of the pool
  for (const PoolConfig& pool : state.config->pools) {
    for (size_t i = 0; i < pool.backends.size(); ++i) {
      const size_t number = first + i;
      if (number < state.first_backend || number - state.first_backend >= state.backends.size()) continue;
      visit(pool, pool.backends[i], state.backends[number - state.first_backend]);
    }
    first += pool.backends.size();
  }
}

/// Makes the copies. Lives on the loop that decides.
class StateCopier {
 public:
  explicit StateCopier(const Controller& controller) : controller_(controller) {}

  /// All but the backends.
  NodeState head();

  /// Goes on with the backends of `state` until it has `count` of them or the time is up; at least one is
  /// copied. False when the configuration is not the state's any more: then it is to be made anew.
  bool add_backends(NodeState& state, size_t count, std::chrono::steady_clock::duration at_most) const;

 private:
  BackendState backend(const PoolConfig& pool, const BackendConfig& backend) const;

  const Controller& controller_;
  std::shared_ptr<const Config> config_;  // the controller's, copied once for each revision
};

/// Everything at once, which takes as long as it takes.
NodeState whole_state(const Controller& controller);

}  // namespace linimo
