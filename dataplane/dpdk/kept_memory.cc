#include "dataplane/dpdk/kept_memory.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "maglev/os/process_lock.h"
#include "maglev/state_file.h"

namespace linimo::dpdk {
namespace {

constexpr std::chrono::milliseconds kEndOfPredecessor{1000};  // a killed process takes a moment to end

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

tl::expected<KeptMemory, std::string> KeptMemory::make_in(const KeptPlace& place, uint64_t bytes) {
  if (std::string why = place.why_no_room(bytes); !why.empty()) return tl::unexpected(why);
  if (auto folder = make_own_folder(place.file.parent_path()); !folder) return tl::unexpected(folder.error());
  UniqueFd fresh(::open(place.file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fresh || !try_lock(fresh.get()))
    return tl::unexpected(fmt::format("{}: {}", place.file.string(), std::strerror(errno)));
  auto made = map(place.file, std::move(fresh), place.whole_pages(bytes));
  if (!made) unlink(place.file.c_str());
  return made;
}

struct KeptMemory::Left {
  std::optional<KeptMemory> memory;
  std::string why_not;
  bool in_use = false;
};

KeptMemory::Left KeptMemory::left_in(const KeptPlace& place, const KeptFlows::Shape& shape) {
  UniqueFd found(::open(place.file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!found || fstat(found.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
    return {};
  if (!locked_in_time(found.get()))
    return {.memory = std::nullopt,
            .why_not = fmt::format("{} is in use by another process", place.file.string()),
            .in_use = true};
  // No more of it is of use, whatever its size is said to be.
  const uint64_t bytes =
      std::min(static_cast<uint64_t>(status.st_size), place.whole_pages(KeptFlows::bytes_for(shape)));
  auto left = map(place.file, std::move(found), bytes);
  std::string why_not = !left                        ? left.error()
                        : status.st_uid != geteuid() ? "the file is another user's"
                        : bytes < 4096               ? "the file is cut short"
                                                     : left->flows().why_not(shape);
  if (!why_not.empty()) return {.memory = std::nullopt, .why_not = std::move(why_not)};
  return {.memory = std::move(*left), .why_not = {}};
}

tl::expected<KeptMemory, std::string> KeptMemory::open(const std::filesystem::path& runtime_dir,
                                                       KeptFlows::Shape shape) {
  const std::string owner = plain_path(runtime_dir);
  shape.owner = XXH3_64bits(owner.data(), owner.size());
  shape.boot = boot_id();
  const uint64_t bytes = KeptFlows::bytes_for(shape);
  auto [places, why_not] = kept_places(runtime_dir);
  std::string why_empty;
  std::optional<KeptMemory> kept;
  bool in_hugepages = false;
  for (const KeptPlace& place : places) {
    Left left = left_in(place, shape);
    if (left.in_use) return tl::unexpected(left.why_not);
    if (!left.why_not.empty()) why_empty = left.why_not;
    if (left.memory && !kept) {
      kept.emplace(std::move(*left.memory));
      in_hugepages = place.hugepages;
    } else {
      unlink(place.file.c_str());  // of no use, or older than what was found already
    }
  }
  for (const KeptPlace& place : places) {
    if (kept && (in_hugepages || !place.hugepages)) break;
    auto made = make_in(place, bytes);
    if (!made) {
      why_not.push_back(made.error());
      continue;
    }
    if (kept) {
      std::memcpy(made->memory_.data(), kept->memory_.data(), bytes);
      unlink(kept->file_.c_str());
    } else {
      made->flows().begin(shape);
      made->why_empty_ = why_empty;
    }
    in_hugepages = place.hugepages;
    kept.emplace(std::move(*made));
    break;
  }
  const std::string whys = fmt::format("{}", fmt::join(why_not, "; "));
  if (!kept) return tl::unexpected(whys);
  if (!in_hugepages) kept->why_small_pages_ = whys;
  return std::move(*kept);
}

KeptMemory::KeptMemory(KeptMemory&& other) noexcept
    : file_(std::move(other.file_)),
      fd_(std::move(other.fd_)),
      memory_(std::exchange(other.memory_, {})),
      why_empty_(std::move(other.why_empty_)),
      why_small_pages_(std::move(other.why_small_pages_)) {}

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
  for (const KeptPlace& place : kept_places(runtime_dir).usable) {
    any |= unlink(place.file.c_str()) == 0;
    rmdir(place.file.parent_path().c_str());
  }
  return any;
}

}  // namespace linimo::dpdk
