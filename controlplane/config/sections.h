// The readers of the configuration's sections. All throw ConfigError.
//
// A section is kept together with the values that it was read from until the checks across sections are done,
// so that those can point at the line too.
#pragma once

#include <vector>

#include "controlplane/config/config.h"
#include "maglev/config/toml_reader.h"

namespace linimo {

/// Values refer into the parsed document.
struct PoolSection {
  PoolConfig pool;
  const TomlValue* place = nullptr;
  std::vector<const TomlValue*> backends;  // the addresses, in the order of pool.backends
};

struct ServiceSection {
  ServiceConfig service;
  const TomlValue* place = nullptr;
  const TomlValue* vips = nullptr;  // an array, in the order of service.vips
};

MetricsConfig read_metrics(const TomlValue& value);
HealthCheckConfig read_health(const TomlValue& value);
PoolSection read_pool(const TomlValue& value);
ServiceSection read_service(const TomlValue& value, const std::vector<PoolSection>& pools);

/// Where checks through the tunnel go; a pool that no service uses has no VIP for them.
void complete_tunnel_checks(const NodeConfig& node, std::vector<PoolSection>& pools,
                            const std::vector<ServiceSection>& services);

/// What only the whole can show: contending services, backends inside a VIP, sources that tunnels lack,
/// limits.
void check_across_sections(const NodeConfig& node, const std::vector<PoolSection>& pools,
                           const std::vector<ServiceSection>& services);

}  // namespace linimo
