// Which backends of a pool are eligible for new flows, which keep only those they have, and with what weight:
// from what is configured and what is known of their health. A pure function; what may be counterintuitive
// about a pool's table is decided here, in one file.
//
//   const PoolEligibility eligibility = eligibility_of(pool, standing_of);   // .of[i]: of pool.backends[i]
//
// - One of which nothing is known yet is left out, not put in as down.
// - One that is healthy and has no weight, drains or is held back is draining: its flows stay, no new ones
// come.
// - Panic: where fewer than `panic` percent of the backends that should take flows can, and one at least, all
//   do. So few would be overrun, and so many that die together tell of a check that errs (of the network
//   between here and there, for example) rather than of deaths.
// - Backends are held back only in favour of others: where nobody else is up, they take flows.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "controlplane/config/config.h"
#include "controlplane/health/backend_health.h"

namespace linimo {

using StandingOf = std::function<Standing(const BackendKey&)>;

struct Eligibility {
  std::optional<linimo_backend_state> state;  // none: not in the tables
  uint32_t weight = 0;
};

struct PoolEligibility {
  std::vector<Eligibility> of;
  bool few = false;    // fewer than `panic` percent can take flows; lasts while none is up
  bool panic = false;  // so all do
  bool none = false;   // that should take flows is up
};

/// Weights are relative. Where a backend starts slowly they are in eighths, so that a weight of 1 has them
/// too.
PoolEligibility eligibility_of(const PoolConfig& pool, const StandingOf& standing_of);

}  // namespace linimo
