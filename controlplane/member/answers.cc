// What the node asks of its fleet: nothing changes by it.

#include <algorithm>
#include <set>

#include "controlplane/member/member.h"

namespace linimo {
namespace {

const fleet::BackendState* find_in(const fleet::BackendStates& states, const BackendKey& backend) {
  const std::string name = backend_name(backend);
  const auto found = std::lower_bound(
      states.begin(), states.end(), name,
      [](const fleet::BackendState& state, const std::string& of) { return state.name < of; });
  return found != states.end() && found->name == name ? &*found : nullptr;
}

Standing standing_in(const fleet::BackendStates& states, const BackendKey& backend) {
  const fleet::BackendState* found = find_in(states, backend);
  if (found == nullptr) return HealthState::kUnknown;
  Standing standing = found->health;
  standing.drains = found->drains || found->leaves;
  standing.held_back = found->eighths == 0;
  standing.eighths = std::max(found->eighths, 1U);
  return standing;
}

template <typename Add>
void add_backends(Config& to, const Config& from, Add wanted) {
  for (const PoolConfig& pool : from.pools) {
    auto found = std::find_if(to.pools.begin(), to.pools.end(),
                              [&](const PoolConfig& of) { return of.name == pool.name; });
    for (const BackendConfig& backend : pool.backends) {
      if (!wanted(BackendKey{pool.name, backend.address})) continue;
      if (found == to.pools.end()) {
        to.pools.push_back(pool);
        found = std::prev(to.pools.end());
        found->backends.clear();
      }
      const bool there = std::any_of(found->backends.begin(), found->backends.end(),
                                     [&](const BackendConfig& of) { return of.address == backend.address; });
      if (!there) found->backends.push_back(backend);
    }
  }
}

}  // namespace

std::optional<Config> FleetMember::remembered() const {
  const Revision* revision = revisions_.find(wanted_.revision, wanted_.documents);
  if (revision == nullptr || revision->config == nullptr) return std::nullopt;
  return *revision->config;
}

tl::expected<Config, std::string> FleetMember::load(const std::string& text) const {
  const Revision* revision = revisions_.find(wanted_.revision, wanted_.documents);
  if (revision == nullptr) return load_config_text(text, file_);
  Revision again = Revisions::read(revision->number, revision->digest, revision->documents, text, file_);
  if (again.config == nullptr) return tl::unexpected(again.refusal);
  return *again.config;
}

Standing FleetMember::standing(const BackendKey& backend) const {
  return standing_in(*standings_->backends, backend);
}

bool FleetMember::drains_itself(const BackendKey& backend) const {
  const fleet::BackendState* found = find_in(*standings_->backends, backend);
  return found != nullptr && found->leaves;
}

bool FleetMember::drained_by_operator(const BackendKey& backend) const {
  const fleet::BackendState* found = find_in(*standings_->backends, backend);
  return found != nullptr && found->drains;
}

Standing FleetMember::Former::standing(const BackendKey& backend) const {
  return standing_in(*backends, backend);
}

Config FleetMember::to_check(const Config& own) const {
  Config checked = own;
  if (leads_tables()) checked.pools.clear();
  const std::set<std::string> names(to_check_.begin(), to_check_.end());
  const auto wanted = [&](const BackendKey& backend) { return names.contains(backend_name(backend)); };
  // A pool is checked as the revision in force says, and by one that waits only where there is no such pool
  // yet.
  if (const Revision* in_force = revisions_.find(wanted_.revision, wanted_.documents);
      in_force != nullptr && in_force->config != nullptr)
    add_backends(checked, *in_force->config, wanted);
  for (const Revision& revision : revisions_.all())
    if (revision.config != nullptr) add_backends(checked, *revision.config, wanted);
  return checked;
}

bool FleetMember::may_announce(const Prefix& vip) const {
  // Until the data plane forwards by a table of the fleet's, what it forwards by is announced as before.
  return !announced_ || state_.own.live.revision == 0 || announced_->contains(vip.to_string());
}

}  // namespace linimo
