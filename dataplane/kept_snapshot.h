// What a data plane forwards by, in the runtime folder for the next process, with the time since when. By a
// clock that no one sets: the one on the wall may jump, and windows of slots would end with it.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include <tl/expected.hpp>

namespace linimo {

/// In the runtime folder.
inline constexpr const char* kSnapshotFile = "snapshot";

/// As what is live from now on.
tl::expected<void, std::string> keep_snapshot(const std::filesystem::path& file,
                                              std::span<const std::byte> snapshot);

/// For how long it has been live, or less: nothing where that is not known.
std::chrono::seconds age_of_kept(const std::filesystem::path& file);

/// As it would be now: windows are shorter by its age. Nothing: there is none.
tl::expected<std::optional<std::string>, std::string> read_kept_snapshot(const std::filesystem::path& file);

}  // namespace linimo
