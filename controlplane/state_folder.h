// What a node remembers over restarts and reboots, besides its configuration: who the operator drains, and
// which numbers stand for what.
#pragma once

#include <filesystem>
#include <string>

#include <tl/expected.hpp>

#include "maglev/config/node.h"

namespace linimo {

/// In `[node] state_dir`.
inline std::filesystem::path drains_file(const std::filesystem::path& state_dir) {
  return state_dir / "drains.json";
}
/// There while the node drains or is drained.
inline std::filesystem::path node_drained_file(const std::filesystem::path& state_dir) {
  return state_dir / "node-drained";
}

/// Which number stands for which backend and service.
inline std::filesystem::path ids_file(const std::filesystem::path& state_dir) {
  return state_dir / "ids.json";
}

/// Makes the folder, and moves into it what an earlier version kept in the runtime folder.
tl::expected<void, std::string> open_state_folder(const NodeConfig& node);

}  // namespace linimo
