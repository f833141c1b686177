#include "controlplane/tables/planner.h"

#include <algorithm>

namespace linimo {

SnapshotSpec Planner::plan(const Config& config, const StandingOf& standing_of, const Ids& ids,
                           uint64_t generation) {
  SnapshotSpec spec;
  spec.generation = generation;
  spec.hash_seed = config.hash_seed;
  spec.encap_source4 = config.node.encap_source4;
  spec.encap_source6 = config.node.encap_source6;
  spec.encap_prefix4 = config.node.encap_prefix4;
  spec.encap_prefix6 = config.node.encap_prefix6;
  spec.reply_rate = config.node.reply_rate;
  if (config.announce) {
    spec.announce_table = config.announce->table;
    spec.orphan_timeout_ms = static_cast<uint32_t>(config.announce->orphan_timeout.count());
  }

  spec.pools.reserve(config.pools.size());
  spec.services.reserve(config.services.size());
  std::map<std::string, Planned> kept;
  for (const PoolConfig& pool : config.pools) {
    kept.insert(pools_.extract(pool.name));
    Planned& planned = kept[pool.name];
    if (!planned.current) plan_pool(pool, standing_of, ids, planned);
    spec.pools.push_back(planned.spec);
  }
  pools_ = std::move(kept);
  spec.has_node_pool =
      has_others(handlers_) && std::ranges::all_of(other_nodes(handlers_), [&](const auto& node) {
        return ids.find_backend(node).has_value();  // where there are no numbers left, fragments stay
      });
  spec.handlers_move = handlers_.move;
  if (spec.has_node_pool) spec.pools.push_back(node_pool(handlers_, ids));

  for (const ServiceConfig& service : config.services) {
    spec.services.push_back({.name = service.name,
                             .id = ids.service(service.name),
                             .pool = service.pool,
                             .protocol = service.protocol,
                             .tracking = service.tracking,
                             .no_backend = service.no_backend,
                             .scheduler = service.scheduler,
                             .quic = service.quic,
                             .server_id_offset = service.server_id_offset,
                             .idle_timeout_s = service.idle_timeout_s,
                             .shares_flows = config.fleet && !config.fleet->peers.empty() &&
                                             service.tracking == LINIMO_TRACKING_ADAPTIVE,
                             .vips = service.vips,
                             .ports = service.ports,
                             .allow_sources = service.allow_sources});
  }
  return spec;
}

void Planner::plan_pool(const PoolConfig& pool, const StandingOf& standing_of, const Ids& ids,
                        Planned& planned) {
  PoolSpec& spec = planned.spec;
  spec.name = pool.name;
  spec.encapsulation = pool.encapsulation;
  spec.gue_port = pool.gue_port;
  spec.server_id_length = pool.server_id_length;
  spec.backends.clear();
  const PoolEligibility eligibility = eligibility_of(pool, standing_of);
  for (size_t i = 0; i < pool.backends.size(); ++i) {
    const BackendConfig& backend = pool.backends[i];
    const Eligibility& eligible = eligibility.of[i];
    if (!eligible.state) continue;
    spec.backends.push_back({.address = backend.address,
                             .id = ids.backend({pool.name, backend.address}),
                             .weight = eligible.weight,
                             .state = *eligible.state,
                             .server_id = backend.server_id});
  }
  planned.few = eligibility.few;
  planned.none = eligibility.none;
  // Once here, and not for each snapshot that has this pool.
  std::sort(spec.backends.begin(), spec.backends.end(),
            [](const BackendSpec& a, const BackendSpec& b) { return a.stands_before(b); });
  planned.current = true;

  const std::vector<TableMember> members = members_of(spec.backends);
  if (spec.table != nullptr && spec.table->members == members && spec.table->slots.size() == pool.table_size)
    return;
  spec.table = make_pool_table(spec.backends, pool.table_size);
  planned.slots_of_member.assign(members.size(), 0);
  for (const linimo_slot slot : spec.table->slots) {
    if (slot != LINIMO_NO_BACKEND) ++planned.slots_of_member[slot];
  }
}

void Planner::pool_changed(const std::string& pool) {
  if (const auto found = pools_.find(pool); found != pools_.end()) found->second.current = false;
}

void Planner::all_changed() {
  for (auto& [name, planned] : pools_) planned.current = false;
}

bool Planner::panics(const std::string& pool) const {
  const auto found = pools_.find(pool);
  return found != pools_.end() && found->second.few;
}

bool Planner::none_up(const std::string& pool) const {
  const auto found = pools_.find(pool);
  return found != pools_.end() && found->second.none;
}

uint64_t Planner::digest(const std::string& pool) const {
  const auto found = pools_.find(pool);
  return found != pools_.end() ? found->second.spec.table->digest : 0;
}

double Planner::share(const BackendKey& backend) const {
  const auto found = pools_.find(backend.pool);
  if (found == pools_.end()) return 0;
  const PoolTable& table = *found->second.spec.table;
  const auto member =
      std::lower_bound(table.members.begin(), table.members.end(), TableMember{backend.address, 0});
  if (member == table.members.end() || member->address != backend.address) return 0;
  const auto index = static_cast<size_t>(member - table.members.begin());
  return static_cast<double>(found->second.slots_of_member[index]) / static_cast<double>(table.slots.size());
}

}  // namespace linimo
