#include "controlplane/tables/eligibility.h"

#include <algorithm>

namespace linimo {
namespace {

/// Whether it would take new flows, if only it were well.
bool is_wanted(const BackendConfig& backend, const Standing& standing) {
  return backend.weight != 0 && !backend.drain && !standing.drains &&
         standing.health != HealthState::kUnknown;
}

bool is_up(const Standing& standing) {
  return standing.health == HealthState::kUp;
}

std::optional<linimo_backend_state> state_of(const Standing& standing) {
  switch (standing.health) {
    case HealthState::kUp:
      return LINIMO_BACKEND_UP;
    case HealthState::kDown:
      return LINIMO_BACKEND_DOWN;
    case HealthState::kUnknown:
      break;
  }
  return std::nullopt;
}

}  // namespace

PoolEligibility eligibility_of(const PoolConfig& pool, const StandingOf& standing_of) {
  std::vector<Standing> standings;
  standings.reserve(pool.backends.size());
  size_t wanted = 0;
  size_t up = 0;      // of those wanted
  size_t usable = 0;  // of those up
  bool slow = false;
  for (const BackendConfig& backend : pool.backends) {
    const Standing& standing = standings.emplace_back(standing_of({pool.name, backend.address}));
    if (!is_wanted(backend, standing)) continue;
    ++wanted;
    if (!is_up(standing)) continue;
    ++up;
    if (standing.held_back) continue;
    ++usable;
    slow |= standing.eighths != Standing::kFullWeight;
  }

  PoolEligibility eligibility;
  const uint32_t panic = pool.health ? pool.health->panic : 0;
  eligibility.few = usable * 100 < panic * wanted;
  eligibility.panic = eligibility.few && up != 0;
  eligibility.none = wanted != 0 && up == 0;
  const bool all_that_are_up = eligibility.panic || usable == 0;
  const bool in_eighths = slow && !all_that_are_up;
  eligibility.of.reserve(pool.backends.size());
  for (size_t i = 0; i < pool.backends.size(); ++i) {
    const BackendConfig& backend = pool.backends[i];
    const Standing& standing = standings[i];
    Eligibility eligible{state_of(standing), backend.weight};
    if (is_wanted(backend, standing)) {
      if (eligibility.panic) eligible.state = LINIMO_BACKEND_UP;
      if (standing.held_back && !all_that_are_up) eligible.state = LINIMO_BACKEND_DRAINING;
    } else if (is_up(standing)) {
      eligible.state = LINIMO_BACKEND_DRAINING;
    }
    if (in_eighths) eligible.weight *= standing.eighths;
    eligibility.of.push_back(eligible);
  }
  return eligibility;
}

}  // namespace linimo
