#include "controlplane/tables/planner.h"

#include <algorithm>

namespace linimo {

std::optional<linimo_backend_state> table_state(HealthState health, uint32_t weight) {
  switch (health) {
    case HealthState::kUp:
      return weight == 0 ? LINIMO_BACKEND_DRAINING : LINIMO_BACKEND_UP;
    case HealthState::kDown:
      return LINIMO_BACKEND_DOWN;
    case HealthState::kUnknown:
      break;
  }
  return std::nullopt;
}

SnapshotSpec Planner::plan(const Config& config, const StateOf& state_of, const Ids& ids,
                           uint64_t generation) {
  SnapshotSpec spec;
  spec.generation = generation;
  spec.hash_seed = config.hash_seed;
  spec.encap_source4 = config.node.encap_source4;
  spec.encap_source6 = config.node.encap_source6;

  std::map<std::string, Cached> kept;
  for (const PoolConfig& pool : config.pools) {
    PoolSpec pool_spec{
        .name = pool.name, .encapsulation = pool.encapsulation, .backends = {}, .table = nullptr};
    for (const BackendConfig& backend : pool.backends) {
      const BackendKey key{pool.name, backend.address};
      const auto state = table_state(state_of(key), backend.weight);
      if (!state) continue;
      pool_spec.backends.push_back(
          {.address = backend.address, .id = ids.backend(key), .weight = backend.weight, .state = *state});
    }
    pool_spec.table = table_for(pool, pool_spec.backends);
    kept.insert(tables_.extract(pool.name));
    spec.pools.push_back(std::move(pool_spec));
  }
  tables_ = std::move(kept);

  for (const ServiceConfig& service : config.services) {
    spec.services.push_back({.name = service.name,
                             .id = ids.service(service.name),
                             .pool = service.pool,
                             .protocol = service.protocol,
                             .tracking = service.tracking,
                             .no_backend = LINIMO_NO_BACKEND_DROP,
                             .source_hash = false,
                             .idle_timeout_s = service.idle_timeout_s,
                             .vips = service.vips,
                             .ports = service.ports,
                             .allow_sources = service.allow_sources});
  }
  return spec;
}

std::shared_ptr<const PoolTable> Planner::table_for(const PoolConfig& pool,
                                                    const std::vector<BackendSpec>& backends) {
  std::vector<TableMember> members;
  for (const BackendSpec& backend : backends) {
    if (backend.takes_slots()) members.push_back({backend.address, backend.weight});
  }
  std::sort(members.begin(), members.end());
  Cached& cached = tables_[pool.name];
  if (cached.table != nullptr && cached.table->members == members &&
      cached.table->slots.size() == pool.table_size) {
    return cached.table;
  }
  cached.table = make_pool_table(backends, pool.table_size);
  cached.slots_of_member.assign(members.size(), 0);
  for (const linimo_slot slot : cached.table->slots) {
    if (slot != LINIMO_NO_BACKEND) ++cached.slots_of_member[slot];
  }
  return cached.table;
}

uint64_t Planner::digest(const std::string& pool) const {
  const auto found = tables_.find(pool);
  return found != tables_.end() ? found->second.table->digest : 0;
}

double Planner::share(const BackendKey& backend) const {
  const auto found = tables_.find(backend.pool);
  if (found == tables_.end()) return 0;
  const auto& [table, slots_of_member] = found->second;
  const auto member =
      std::lower_bound(table->members.begin(), table->members.end(), TableMember{backend.address, 0});
  if (member == table->members.end() || member->address != backend.address) return 0;
  const auto index = static_cast<size_t>(member - table->members.begin());
  return static_cast<double>(slots_of_member[index]) / static_cast<double>(table->slots.size());
}

}  // namespace linimo
