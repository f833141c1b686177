// What a change changes, in words for the log: bounded, and without a secret (of a health check only that it
// is another, of the hash seed the same).
//
//   config_changes(before, after)   "+backend web/10.0.1.4, backend web/10.0.1.1: weight 100>50, service web:
//   ports" table_changes(before, after)    "web/10.0.1.1 up>down"
//
// Pure functions; any thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "controlplane/config/config.h"

namespace linimo {

/// Of two configurations. Empty when they are the same.
std::string config_changes(const Config& before, const Config& after);

/// Of two valid snapshots, of which the first may be empty: pools, services, and the backends' weights and
/// states. Empty when those are the same.
std::string table_changes(std::span<const std::byte> before, std::span<const std::byte> after);

/// Keys of [node] in which the two differ and which a running data plane cannot take over.
std::vector<std::string> restart_differences(const NodeConfig& running, const NodeConfig& wanted);

}  // namespace linimo
