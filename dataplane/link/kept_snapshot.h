// The last accepted snapshot on disk, so that a data plane that starts alone forwards at once.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "maglev/snapshot.h"

namespace linimo {

/// Replaces the file whole or not at all. False: it could not be written (errno says why).
bool keep_snapshot(const std::filesystem::path& file, std::span<const std::byte> bytes);

/// The bytes as they were kept, not yet validated; nothing when there are none.
std::optional<std::vector<std::byte>> read_kept_snapshot(const std::filesystem::path& file);

}  // namespace linimo
