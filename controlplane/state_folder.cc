#include "controlplane/state_folder.h"

#include <fmt/format.h>

#include "controlplane/log.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

constexpr size_t kMaxFileSize = 64 << 20;

/// What is there already is newer.
tl::expected<void, std::string> move_file(const std::filesystem::path& from,
                                          const std::filesystem::path& to) {
  const auto content = read_state_file(from, kMaxFileSize);
  if (!content) return tl::unexpected(content.error());
  if (!*content) return {};
  const auto newer = read_state_file(to, kMaxFileSize);
  if (!newer) return tl::unexpected(newer.error());
  if (!*newer) {
    if (auto written = write_state_file(to, **content, Outlives::kPowerCut); !written) return written;
    log_info("moved, so that a reboot does not forget it", {{"from", from.string()}, {"to", to.string()}});
  }
  std::error_code ignored;
  std::filesystem::remove(from, ignored);
  return {};
}

}  // namespace

tl::expected<void, std::string> open_state_folder(const NodeConfig& node) {
  if (auto made = make_own_folder(node.state_dir); !made) {
    return tl::unexpected(
        fmt::format("{} (state_dir in [node] names the folder for what outlives a reboot)", made.error()));
  }
  std::error_code unknown;
  if (std::filesystem::equivalent(node.state_dir, node.runtime_dir, unknown)) return {};
  for (const auto& file_in : {drains_file, node_drained_file, ids_file}) {
    if (auto moved = move_file(file_in(node.runtime_dir), file_in(node.state_dir)); !moved) return moved;
  }
  return {};
}

}  // namespace linimo
