#include "maglev/os/process_lock.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "maglev/state_file.h"

namespace linimo {
namespace {

constexpr std::chrono::seconds kCleanUpLimit{5};

bool lives(pid_t pid) {
  return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

bool take(int fd) {
  const auto limit = std::chrono::steady_clock::now() + kCleanUpLimit;
  while (!try_lock(fd)) {
    if (lives(lock_holder(fd)) || std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace

bool try_lock(int fd) {
  return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

pid_t lock_holder(int fd) {
  char pid[16] = {};
  return pread(fd, pid, sizeof pid - 1, 0) > 0 ? std::atoi(pid) : 0;
}

tl::expected<UniqueFd, std::string> lock_runtime_dir(const std::filesystem::path& folder,
                                                     const ProcessKind& kind) {
  if (auto made = make_own_folder(folder, 0755); !made) {
    return tl::unexpected(
        fmt::format("{} (runtime_dir in [node] names the folder for sockets)", made.error()));
  }
  const std::filesystem::path file = folder / kind.file;
  auto fd = open_own_file(file);
  if (!fd) return fd;
  if (!take(fd->get())) {
    return tl::unexpected(
        fmt::format("a {} runs on {} already (pid {}); stop it first, or set another runtime_dir in [node]",
                    kind.what, folder.string(), lock_holder(fd->get())));
  }
  if (auto noted = note_lock_holder(fd->get()); !noted)
    return tl::unexpected(fmt::format("{}: {}", file.string(), noted.error()));
  return fd;
}

tl::expected<void, std::string> note_lock_holder(int fd) {
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text.data(), text.size(), 0) < 0)
    return tl::unexpected<std::string>(std::strerror(errno));
  return {};
}

}  // namespace linimo
