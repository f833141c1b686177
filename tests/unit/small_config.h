// The configuration of tests that ask a control plane: one pool of two backends, one service.
#pragma once

#include <filesystem>

#include "controlplane/config/config.h"

namespace linimo {

/// `folder`: of everything that it keeps.
inline Config small_config(const std::filesystem::path& folder) {
  Config config;
  config.file = folder / "linimo.toml";
  config.node.name = "lb1";
  config.node.runtime_dir = folder;
  config.node.state_dir = folder;
  PoolConfig pool;
  pool.name = "web";
  pool.backends = {{*Address::parse("10.0.1.1"), 100}, {*Address::parse("10.0.1.2"), 0}};
  config.pools = {pool};
  ServiceConfig service;
  service.name = "s";
  service.vips = {*Prefix::parse("203.0.113.1")};
  service.ports = {{80, 80}, {8000, 8100}};
  config.services = {service};
  return config;
}

}  // namespace linimo
