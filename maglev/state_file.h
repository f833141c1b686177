// The folder in which a daemon keeps its files, and those files: written whole or not at all, and never by
// way of something that another user has put there.
//
//   if (auto folder = make_own_folder("/var/lib/linimo"); !folder) refuse(folder.error());
//   if (auto saved = write_state_file(file, text, Outlives::kPowerCut); !saved) say(saved.error());
//   auto text = read_state_file(file, 64 << 20);      // *text is empty when there is no such file
//
// Errors are ready to be shown and name the file. Any thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sys/types.h>
#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

/// Makes it, with that mode, and its parents unless it is there. Refused when it is a symbolic link, belongs
/// neither to root nor to this process's user, or others may write to it: who can put files there can lead a
/// daemon to any other file.
tl::expected<void, std::string> make_own_folder(const std::filesystem::path& folder, mode_t mode = 0750);

/// For reading and writing, made (0600) unless it is there; a symbolic link is refused.
tl::expected<UniqueFd, std::string> open_own_file(const std::filesystem::path& file);

enum class Outlives { kProcess, kPowerCut };  // the latter waits for the disk

/// Replaces the file (0600), or says why not: then the old one is untouched, and nothing else is left.
tl::expected<void, std::string> write_state_file(const std::filesystem::path& file,
                                                 std::span<const std::byte> content, Outlives outlives);
inline tl::expected<void, std::string> write_state_file(const std::filesystem::path& file,
                                                        std::string_view content, Outlives outlives) {
  return write_state_file(file, std::as_bytes(std::span(content)), outlives);
}

/// As if it had never been, also after a power cut. There may be none.
tl::expected<void, std::string> remove_state_file(const std::filesystem::path& file);

/// Nothing when there is no such file. One of more than `most` bytes, or that is no plain file, is an error.
tl::expected<std::optional<std::string>, std::string> read_state_file(const std::filesystem::path& file,
                                                                      size_t most);

}  // namespace linimo
