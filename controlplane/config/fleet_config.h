// The [fleet] section of the configuration: which fleet this node belongs to, and where that keeps what it
// shares.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "controlplane/config/tcp_endpoint.h"

namespace linimo {

enum class StoreEngine { kEtcd, kFile };

struct FleetConfig {
  std::string name;
  StoreEngine store = StoreEngine::kFile;
  std::vector<std::string> endpoints;  // "host:port" of etcd's members
  std::filesystem::path ca_file;       // empty: no TLS
  std::filesystem::path cert_file;     // of this client; empty: none
  std::filesystem::path key_file;
  std::string user;  // empty: none
  std::filesystem::path password_file;
  std::chrono::milliseconds lease{5'000};  // how long a node that is silent counts as living; whole seconds
  uint32_t checkers = 3;                   // nodes that check one backend
  std::vector<TcpEndpoint> peers;  // where nodes take each other's heartbeats, by UDP; empty: none are sent
  std::filesystem::path secret_file;  // with which heartbeats are signed

  bool operator==(const FleetConfig&) const = default;
};

}  // namespace linimo
