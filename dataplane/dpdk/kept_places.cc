#include "dataplane/dpdk/kept_places.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <linux/magic.h>
#include <mntent.h>
#include <sys/vfs.h>

namespace linimo::dpdk {
namespace {

struct HugepageMount {
  std::filesystem::path folder;
  size_t page_bytes;
};

/// Smallest pages first.
std::vector<HugepageMount> hugepage_mounts() {
  std::vector<HugepageMount> found;
  FILE* mounts = setmntent("/proc/self/mounts", "r");
  if (mounts == nullptr) return found;
  while (const mntent* mount = getmntent(mounts)) {
    struct statfs status {};
    if (std::string_view(mount->mnt_type) == "hugetlbfs" && statfs(mount->mnt_dir, &status) == 0 &&
        status.f_type == HUGETLBFS_MAGIC)
      found.push_back({mount->mnt_dir, static_cast<size_t>(status.f_bsize)});
  }
  endmntent(mounts);
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.page_bytes < b.page_bytes; });
  return found;
}

/// What holds the folder, or will once it is made.
std::optional<struct statfs> file_system_of(std::filesystem::path folder) {
  struct statfs status {};
  while (statfs(folder.c_str(), &status) != 0) {
    if (!folder.has_relative_path()) return std::nullopt;
    folder = folder.parent_path();
  }
  return status;
}

}  // namespace

std::string KeptPlace::why_no_room(uint64_t bytes) const {
  if (hugepages) return {};  // the kernel counts them, and they serve nothing else
  const auto status = file_system_of(file.parent_path());
  if (!status) return fmt::format("{} cannot be looked at", file.parent_path().string());
  if (status->f_blocks == 0) return {};  // one without a limit
  const uint64_t free = status->f_bavail * static_cast<uint64_t>(status->f_bsize);
  if (bytes <= free / 2) return {};
  return fmt::format("{}: {} MiB would be more than half of what is free there, {} MiB", file.string(),
                     bytes >> 20, free >> 20);
}

std::string plain_path(const std::filesystem::path& runtime_dir) {
  return std::filesystem::weakly_canonical(runtime_dir).relative_path().string();
}

KeptPlaces kept_places(const std::filesystem::path& runtime_dir) {
  KeptPlaces found;
  std::string name = plain_path(runtime_dir);
  std::replace(name.begin(), name.end(), '/', '-');
  for (const HugepageMount& mount : hugepage_mounts())
    found.usable.push_back({mount.folder / ("linimo@" + name) / "tables", mount.page_bytes, true});
  if (found.usable.empty())
    found.why_not.emplace_back("no hugetlbfs is mounted (`mount -t hugetlbfs nodev /dev/hugepages`)");
  const auto status = file_system_of(runtime_dir);
  if (status && status->f_type == TMPFS_MAGIC) {
    found.usable.push_back({runtime_dir / "kept" / "tables", static_cast<size_t>(status->f_bsize), false});
  } else {
    found.why_not.push_back(fmt::format("{} is not on a tmpfs", runtime_dir.string()));
  }
  return found;
}

}  // namespace linimo::dpdk
