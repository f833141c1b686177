#include "controlplane/announce/live_services.h"

#include <algorithm>
#include <set>

namespace linimo {

std::vector<LiveService> live_services(const SnapshotView& snapshot) {
  std::vector<LiveService> services;
  for (const linimo_service& of : snapshot.services()) {
    const linimo_pool& pool = snapshot.pools()[of.pool];
    const auto backends = snapshot.backends(pool);
    const auto alive = std::count_if(backends.begin(), backends.end(), [](const linimo_backend& backend) {
      return backend.state != LINIMO_BACKEND_DOWN;
    });
    services.push_back({pool.name, static_cast<uint32_t>(alive), {}});
  }
  for (const linimo_vip& vip : snapshot.vips()) {
    std::set<uint16_t> named;  // by how many rules does not matter
    for (const linimo_rule& rule : snapshot.rules().subspan(vip.rule_first, vip.rule_count))
      named.insert(rule.service);
    for (const uint16_t service : named)
      services[service].vips.push_back({Address::from_abi(vip.address), vip.prefix_length});
  }
  return services;
}

std::vector<ServedVip> served_vips(
    const std::vector<LiveService>& services,
    const std::function<std::optional<uint32_t>(const std::string& pool)>& healthy_in) {
  std::vector<ServedVip> served;
  for (const LiveService& service : services) {
    const uint32_t alive = std::min(service.alive, healthy_in(service.pool).value_or(service.alive));
    for (const Prefix& vip : service.vips) served.push_back({vip, alive});
  }
  return served;
}

}  // namespace linimo
