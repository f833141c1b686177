#include "bench/fleet/control_plane.h"

#include <algorithm>

#include <arpa/inet.h>

#include "bench/fleet/node.h"

namespace linimo::fleet {
namespace {

constexpr uint32_t kWeight = 100;

}  // namespace

Pool::Pool(const Settings& settings) : table_size_(settings.table_size) {
  for (uint32_t id = 0; id < settings.backends; ++id)
    of_.push_back({.address = Address::v4(htonl(0x0a000001 + id)), .id = id, .weight = kWeight});
}

PoolSpec Pool::spec() {
  PoolSpec spec;
  spec.name = "pool";
  spec.backends = of_;
  std::sort(spec.backends.begin(), spec.backends.end(),
            [](const BackendSpec& a, const BackendSpec& b) { return a.stands_before(b); });
  if (table_ == nullptr || table_->members != members_of(spec.backends))
    table_ = make_pool_table(spec.backends, table_size_);
  spec.table = table_;
  return spec;
}

SnapshotSpec ControlPlane::plan(const PoolSpec& pool, uint32_t now_ms) {
  SnapshotSpec spec;
  spec.generation = ++generation_;
  spec.hash_seed = settings_.seed;
  spec.encap_source4 = Address::v4(htonl(0xac100001));
  spec.pools.push_back(pool);
  spec.pools.push_back(pool);
  spec.pools[1].name = kModeNames[kShared];
  for (BackendSpec& backend : spec.pools[1].backends) backend.id += settings_.backends;
  constexpr ByMode<linimo_tracking> kTracking = {LINIMO_TRACKING_OFF, LINIMO_TRACKING_FULL,
                                                 LINIMO_TRACKING_ADAPTIVE, LINIMO_TRACKING_ADAPTIVE};
  for (const Mode mode : kAllModes) {
    ServiceSpec service;
    service.name = kModeNames[mode];
    service.id = static_cast<uint32_t>(mode);
    service.pool = mode == kShared ? 1 : 0;
    service.tracking = kTracking[mode];
    service.shares_flows = mode == kShared;
    service.idle_timeout_s = settings_.idle_timeout_s;
    service.vips = {{Address::v4(htonl(0xc6336401)), 128}};
    service.ports = {{Node::port_of(mode), Node::port_of(mode)}};
    spec.services.push_back(std::move(service));
  }
  learning_.plan(spec, Learning::Time(std::chrono::milliseconds(now_ms)));
  learning_.accepted();
  return spec;
}

}  // namespace linimo::fleet
