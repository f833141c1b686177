#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "maglev/probes.h"

namespace linimo {
namespace {

/// Where the tunnels begin is an address of this node, unless it is a prefix whose host bits vary.
Address source_of(const NodeConfig& node, bool v4) {
  const bool fixed = (v4 ? node.encap_prefix4 : node.encap_prefix6) == 128;
  return !fixed ? Address{} : v4 ? node.encap_source4 : node.encap_source6;
}

}  // namespace

void complete_tunnel_checks(Sections& sections) {
  for (uint32_t p = 0; p < sections.pools.size(); ++p) {
    const PoolSection& section = sections.pools[p];
    PoolConfig& pool = sections.pools[p].pool;
    if (!pool.health || !pool.health->tunnel) continue;
    const ServiceSection* asked = nullptr;
    for (const ServiceSection& service : sections.services) {
      if (service.service.pool != p || service.service.vips.empty()) continue;
      const bool better = asked == nullptr || (asked->service.protocol != 6 && service.service.protocol == 6);
      if (better) asked = &service;
    }
    if (asked == nullptr) {
      section.place->place().attempt([&] {
        section.place->fail(
            fmt::format("pool \"{}\" is checked through the tunnel and no service uses it", pool.name),
            "a service with this pool, whose VIP the check can ask");
      });
      continue;
    }
    const Address vip = asked->service.vips.front().address;
    *pool.health->tunnel = {.vip = vip,
                            .source = source_of(sections.node, vip.is_v4()),
                            .encapsulation = pool.encapsulation,
                            .gue_port = pool.gue_port,
                            .routes = probe_file(sections.node.runtime_dir)};
  }
}

}  // namespace linimo
