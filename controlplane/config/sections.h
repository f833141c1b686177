// The readers of the configuration's sections. They note mistakes and go on; a ConfigError is thrown for what
// makes no sense at all, such as a section without a name.
//
// A section is kept together with the values that it was read from until the checks across sections are done,
// so that those can point at the line too.
#pragma once

#include <optional>
#include <string>
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
  std::vector<const TomlValue*> vips;  // in the order of service.vips
};

/// A whole document, as far as it could be read: whether there were mistakes, its place knows.
struct Sections {
  TomlPlace place;
  NodeConfig node;
  bool node_is_right = false;
  std::optional<AnnounceConfig> announce;
  MetricsConfig metrics;
  std::optional<ApiConfig> api;
  std::optional<FleetConfig> fleet;
  std::vector<PoolSection> pools;
  std::vector<ServiceSection> services;
};
/// The document must outlive what this returns.
Sections read_sections(const TomlValue& document);
/// What belongs to a node from one document, pools and services from another, and the rest from either.
Sections read_sections(const TomlValue& own, const TomlValue& shared);

MetricsConfig read_metrics(const TomlValue& value);
ApiConfig read_api(const TomlValue& value);
FleetConfig read_fleet(const TomlValue& value);
HealthCheckConfig read_health(const TomlValue& value);
PoolSection read_pool(const TomlValue& value);
/// `all_pools`: there is no pool besides those.
ServiceSection read_service(const TomlValue& value, const std::vector<PoolSection>& pools, bool all_pools);

/// Where checks through the tunnel go; a pool that no service uses has no VIP for them.
void complete_tunnel_checks(Sections& sections);

/// What only the whole can show: contending services, backends inside a VIP, sources that tunnels lack,
/// limits.
void check_across_sections(const Sections& sections);

/// What is accepted and hardly meant, each as "FILE:LINE:COLUMN: ...".
std::vector<std::string> warnings_about(const Sections& sections);
/// The same of what this machine is or lacks.
std::vector<std::string> warnings_here(const Sections& sections);

}  // namespace linimo
