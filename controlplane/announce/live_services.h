// What the acknowledged tables and the health checks together say of each VIP's services.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "controlplane/announce/decision.h"
#include "maglev/snapshot.h"

namespace linimo {

struct LiveService {
  std::string pool;
  uint32_t alive = 0;  // backends that are not down in the tables
  std::vector<Prefix> vips;
};

std::vector<LiveService> live_services(const SnapshotView& snapshot);

/// `healthy_in` says how many of a pool's backends are healthy; nothing for a pool that it does not know (a
/// configuration that is loaded and not yet live lacks it): then the tables alone count.
std::vector<ServedVip> served_vips(
    const std::vector<LiveService>& services,
    const std::function<std::optional<uint32_t>(const std::string& pool)>& healthy_in);

}  // namespace linimo
