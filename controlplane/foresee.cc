// What a change would do to flows: it is planned as if it were made, and compared with what was planned last.

#include "controlplane/controller.h"
#include "controlplane/member/documents.h"

namespace linimo {
namespace {

bool has(const Config& config, const BackendKey& key) {
  for (const PoolConfig& pool : config.pools) {
    if (pool.name != key.pool) continue;
    for (const BackendConfig& backend : pool.backends) {
      if (backend.address == key.address) return true;
    }
  }
  return false;
}

}  // namespace

tl::expected<Disruption, std::string> Controller::foresee(const std::string& text) const {
  const auto loaded = member_ != nullptr ? member_->load(text) : load_config_text(text, config_.file);
  if (!loaded) return tl::unexpected(loaded.error());
  return foresee(*loaded, std::nullopt);
}

tl::expected<Disruption, std::string> Controller::foresee_revision(const std::string& text,
                                                                   const std::string& name) const {
  if (member_ == nullptr) return tl::unexpected<std::string>("this node is in no fleet: it has no [fleet]");
  // As it is checked before it is written: FleetDesk::apply.
  const auto loaded = load_config_texts(member_->text(), member_->file(), text, name);
  if (!loaded) return tl::unexpected(loaded.error());
  if (const auto parts = split(text, name); !parts) return tl::unexpected(parts.error());
  return foresee(*loaded, std::nullopt);
}

tl::expected<Disruption, std::string> Controller::foresee(const BackendKey& backend, bool drain) const {
  if (const auto may = may_drain(backend, drain); !may) return tl::unexpected(may.error());
  return foresee(config_, DrainWish{backend, drain});
}

/// New backends are taken to be up, once they were checked, and to have their whole share.
tl::expected<Disruption, std::string> Controller::foresee(const Config& config,
                                                          const std::optional<DrainWish>& wish) const {
  if (!may_plan() || publisher_.live_generation() == 0)
    return tl::unexpected<std::string>("nothing is live yet, or the first health checks are not done");
  const auto standing_then = [&](const BackendKey& key) {
    Standing then = has(config_, key) ? standing(key) : Standing(HealthState::kUp);
    if (wish && wish->backend == key)
      then.drains =
          wish->drain || (fleet_leads() ? member_->drains_itself(key) : monitor_.standing(key).drains);
    return then;
  };
  Ids ids = ids_;  // no table depends on them
  ids.hold(config, other_nodes(planner_.handlers()), LiveTables(), std::chrono::steady_clock::now());
  Planner now = planner_, then = planner_;  // with their tables: what does not change is not made again
  const SnapshotSpec before = now.plan(
      config_, [this](const BackendKey& key) { return standing(key); }, ids_, 0);
  then.all_changed();
  const SnapshotSpec after = then.plan(config, standing_then, ids, 0);
  return disruption(before, after, [this](const std::string& pool, const Address& address) -> uint64_t {
    const auto& counters = publisher_.counters();
    const auto id = ids_.find_backend({pool, address});
    return counters && id ? counters->flows_of_backend(*id).all() : 0;
  });
}

}  // namespace linimo
