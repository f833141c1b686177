// One control plane on a runtime folder: the second finds out who the first is.
#pragma once

#include <filesystem>
#include <string>

#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

/// Makes the folder (0750, of the group `linimo` where there is one) if there is none and locks
/// `controlplane.lock` in it until the descriptor is closed or the process ends, however it ends. The error
/// says which process has it.
tl::expected<UniqueFd, std::string> lock_runtime_dir(const std::filesystem::path& folder);

}  // namespace linimo
