#include "controlplane/trace/id_names.h"

#include <fmt/format.h>

#include "maglev/address.h"

namespace linimo {

bool IdNames::add_service(uint32_t id) {
  return services_.try_emplace(id, fmt::format("service {}", id)).second;
}

bool IdNames::add_backend(uint32_t id) {
  return backends_.try_emplace(id, fmt::format("backend {}", id)).second;
}

void IdNames::name_by(const std::optional<SnapshotView>& live) {
  if (!live) return;
  for (const linimo_service& service : live->services()) {
    if (const auto found = services_.find(service.id); found != services_.end()) found->second = service.name;
  }
  for (const linimo_pool& pool : live->pools()) {
    for (const linimo_backend& backend : live->backends(pool)) {
      if (const auto found = backends_.find(backend.id); found != backends_.end())
        found->second = fmt::format("{}/{}", pool.name, Address::from_abi(backend.address).to_string());
    }
  }
}

}  // namespace linimo
