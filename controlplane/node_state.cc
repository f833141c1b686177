#include "controlplane/node_state.h"

#include "controlplane/config/hash_seed.h"

namespace linimo {

size_t backend_count(const Config& config) {
  size_t count = 0;
  for (const PoolConfig& pool : config.pools) count += pool.backends.size();
  return count;
}

namespace {

FleetState fleet_state(const FleetMember& member) {
  const fleet::State& of = member.state();
  FleetState state;
  state.name = member.settings().name;
  state.store_in_reach = fleet::in_reach(of);
  state.leads = of.view.leader && of.view.leader->node == of.settings.node;
  state.nodes = of.view.nodes.size();
  state.table = of.own.live;
  state.shared = member.shared_counts();
  for (size_t kind = 0; kind < fleet::kAlarmKinds; ++kind)
    state.alarms[alarm_name(static_cast<fleet::AlarmKind>(kind))] = of.alarms[kind];
  return state;
}

}  // namespace

NodeState StateCopier::head() {
  const Controller& of = controller_;
  if (config_ == nullptr || config_->revision != of.config().revision)
    config_ = std::make_shared<const Config>(of.config());
  NodeState state;
  state.config = config_;
  state.peer = of.peer();
  state.counters = of.counters();
  state.connected = of.connected();
  state.up_to_date = of.up_to_date();
  state.health_known = of.health().all_known();
  state.generation = of.live_generation();
  state.digest = of.live_digest();
  state.seed_check = hash_seed_check(of.config().hash_seed);
  state.last_refusal = of.last_refusal();
  state.loaded_at = of.loaded_at();
  state.last_error = of.last_error();
  state.restart_needed = of.restart_needed();
  state.pools_in_panic = of.pools_in_panic();
  state.serving = of.watch().serving();
  state.conditions = of.watch().conditions().all();
  // Nodes of a fleet have ways too, and are no backends.
  for (const PoolConfig& pool : config_->pools) {
    if (of.watch().ways().without() == 0) break;
    for (const BackendConfig& backend : pool.backends)
      state.backends_without_way += of.way_problem({pool.name, backend.address}) != nullptr ? 1 : 0;
  }
  if (const Announcer& announcer = of.announcer(); announcer.config())
    state.announce =
        AnnounceState{announcer.phase(), announcer.routes(), announcer.failure(), announcer.bird()};
  if (const FleetMember* member = of.member()) state.fleet = fleet_state(*member);
  for (const PoolConfig& pool : config_->pools)
    state.pools.push_back({of.planner().panics(pool.name), of.planner().digest(pool.name)});
  for (const ServiceConfig& service : config_->services)
    state.service_ids.push_back(of.ids().find_service(service.name));
  state.free_backend_ids = of.ids().free_backends();
  state.free_service_ids = of.ids().free_services();
  return state;
}

bool StateCopier::add_backends(NodeState& state, size_t count,
                               std::chrono::steady_clock::duration at_most) const {
  if (controller_.config().revision != state.config->revision) return false;
  const auto end = std::chrono::steady_clock::now() + at_most;
  size_t next = state.first_backend + state.backends.size();  // counted from the pool's first one on
  for (const PoolConfig& pool : state.config->pools) {
    for (; next < pool.backends.size() && state.backends.size() < count; ++next) {
      state.backends.push_back(backend(pool, pool.backends[next]));
      // A look at the clock costs a tenth of a copy.
      if (state.backends.size() % 16 == 0 && std::chrono::steady_clock::now() >= end) return true;
    }
    if (state.backends.size() >= count) break;
    next -= pool.backends.size();
  }
  return true;
}

BackendState StateCopier::backend(const PoolConfig& pool, const BackendConfig& backend) const {
  const BackendKey key{pool.name, backend.address};
  const auto* drain = controller_.drain_progress(key);
  return {.id = controller_.ids().find_backend(key),
          .standing = controller_.standing(key),
          .drain = drain != nullptr ? std::optional(*drain) : std::nullopt,
          .drained_by_operator = controller_.drained_by_operator(key),
          .share = controller_.planner().share(key),
          .way_problem = controller_.way_problem(key),
          .detail = controller_.detail(key),
          .checks = controller_.health().counts(key)};
}

NodeState whole_state(const Controller& controller) {
  StateCopier copier(controller);
  NodeState state = copier.head();
  copier.add_backends(state, backend_count(*state.config), std::chrono::hours(1));
  return state;
}

}  // namespace linimo
