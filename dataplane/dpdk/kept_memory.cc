#include "dataplane/dpdk/kept_memory.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <mntent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "maglev/os/process_lock.h"
#include "maglev/state_file.h"

namespace linimo::dpdk {
namespace {

constexpr std::chrono::milliseconds kEndOfPredecessor{1000};  // a killed process takes a moment to end

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

std::string plain_path(const std::filesystem::path& runtime_dir) {
  return std::filesystem::weakly_canonical(runtime_dir).relative_path().string();
}

std::filesystem::path file_in(const HugepageMount& mount, const std::filesystem::path& runtime_dir) {
  std::string name = plain_path(runtime_dir);
  std::replace(name.begin(), name.end(), '/', '-');
  return mount.folder / ("linimo@" + name) / "tables";
}

KeptFlows::BootId boot_id() {
  KeptFlows::BootId id{};
  std::ifstream("/proc/sys/kernel/random/boot_id").read(id.data(), id.size() - 1);
  return id;
}

bool locked_in_time(int fd) {
  const auto limit = std::chrono::steady_clock::now() + kEndOfPredecessor;
  while (!try_lock(fd)) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace

tl::expected<KeptMemory, std::string> KeptMemory::map(std::filesystem::path file, UniqueFd fd, size_t bytes) {
  // Reserved and allocated: a page that is missing later would end the process.
  void* memory = fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) != 0
                     ? MAP_FAILED
                     : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
  if (memory == MAP_FAILED)
    return tl::unexpected(fmt::format("{}: {} MiB: {}", file.string(), bytes >> 20, std::strerror(errno)));
  return KeptMemory(std::move(file), std::move(fd), {static_cast<std::byte*>(memory), bytes});
}

tl::expected<KeptMemory, std::string> KeptMemory::open(const std::filesystem::path& runtime_dir,
                                                       KeptFlows::Shape shape) {
  const std::string owner = plain_path(runtime_dir);
  shape.owner = XXH3_64bits(owner.data(), owner.size());
  shape.boot = boot_id();
  std::string why_empty;
  std::string why_none = "no hugetlbfs is mounted (`mount -t hugetlbfs nodev /dev/hugepages`)";
  for (const HugepageMount& mount : hugepage_mounts()) {
    const std::filesystem::path file = file_in(mount, runtime_dir);
    const auto pages = [&](uint64_t bytes) {
      return (bytes + mount.page_bytes - 1) / mount.page_bytes * mount.page_bytes;
    };
    UniqueFd found(::open(file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    struct stat status {};
    if (found && fstat(found.get(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0) {
      if (!locked_in_time(found.get()))
        return tl::unexpected(fmt::format("{} is in use by another process", file.string()));
      auto kept = map(file, std::move(found), static_cast<size_t>(status.st_size));
      why_empty = !kept                         ? kept.error()
                  : status.st_uid != geteuid()  ? "the file is another user's"
                  : kept->memory_.size() < 4096 ? "the file is cut short"
                                                : kept->flows().why_not(shape);
      if (why_empty.empty()) return kept;
    }
    unlink(file.c_str());
    if (auto folder = make_own_folder(file.parent_path()); !folder) {
      why_none = folder.error();
      continue;
    }
    UniqueFd fresh(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    auto made = fresh && try_lock(fresh.get())
                    ? map(file, std::move(fresh), pages(KeptFlows::bytes_for(shape)))
                    : tl::unexpected(fmt::format("{}: {}", file.string(), std::strerror(errno)));
    if (made) {
      made->flows().begin(shape);
      made->why_empty_ = why_empty;
      return made;
    }
    why_none = made.error();
    unlink(file.c_str());
  }
  return tl::unexpected(why_none);
}

KeptMemory::KeptMemory(KeptMemory&& other) noexcept
    : file_(std::move(other.file_)),
      fd_(std::move(other.fd_)),
      memory_(std::exchange(other.memory_, {})),
      why_empty_(std::move(other.why_empty_)) {}

// The lock ends with the descriptor, behind the mapping.
KeptMemory::~KeptMemory() {
  if (!memory_.empty()) munmap(memory_.data(), memory_.size());
}

bool KeptMemory::is_in_place() const {
  struct stat ours {};
  struct stat named {};
  return fstat(fd_.get(), &ours) == 0 && lstat(file_.c_str(), &named) == 0 && ours.st_dev == named.st_dev &&
         ours.st_ino == named.st_ino;
}

bool forget_kept_memory(const std::filesystem::path& runtime_dir) {
  bool any = false;
  for (const HugepageMount& mount : hugepage_mounts()) {
    const std::filesystem::path file = file_in(mount, runtime_dir);
    any |= unlink(file.c_str()) == 0;
    rmdir(file.parent_path().c_str());
  }
  return any;
}

}  // namespace linimo::dpdk
