#include "dataplane/kept_snapshot.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "maglev/abi.h"
#include "maglev/snapshot.h"
#include "maglev/state_file.h"

namespace linimo {
namespace {

constexpr size_t kMostDigits = 20;

/// Since the machine started, its sleep among it.
int64_t now_s() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec;
}

std::filesystem::path since_of(const std::filesystem::path& file) {
  return file.string() + ".since";
}

}  // namespace

tl::expected<void, std::string> keep_snapshot(const std::filesystem::path& file,
                                              std::span<const std::byte> snapshot) {
  // First the time: whoever ends in between leaves an older snapshot that seems younger, whose windows last
  // longer.
  const std::string since = std::to_string(now_s());
  if (auto done = write_state_file(since_of(file), since, Outlives::kProcess); !done) return done;
  // What it forwarded by before a reboot is no guide to a node that starts.
  return write_state_file(file, snapshot, Outlives::kProcess);
}

std::chrono::seconds age_of_kept(const std::filesystem::path& file) {
  const auto text = read_state_file(since_of(file), kMostDigits);
  if (!text || !*text) return {};
  int64_t since = 0;
  const std::string& digits = **text;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), since).ec != std::errc()) return {};
  return std::chrono::seconds(std::clamp<int64_t>(now_s() - since, 0, LINIMO_MAX_IDLE_TIMEOUT_S));
}

tl::expected<std::optional<std::string>, std::string> read_kept_snapshot(const std::filesystem::path& file) {
  auto kept = read_state_file(file, LINIMO_MAX_SNAPSHOT_BYTES);
  if (!kept || !*kept) return kept;
  // Else windows that were over would begin anew, and connections that have begun since go where they never
  // were.
  if (const auto bytes = std::as_writable_bytes(std::span(**kept)); SnapshotView::validate(bytes))
    grow_older(bytes, age_of_kept(file));
  return kept;
}

}  // namespace linimo
