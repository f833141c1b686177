#include "controlplane/process_lock.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace linimo {

tl::expected<UniqueFd, std::string> lock_runtime_dir(const std::filesystem::path& folder) {
  std::error_code error;
  if (folder.has_parent_path()) std::filesystem::create_directories(folder.parent_path(), error);
  if (mkdir(folder.c_str(), 0750) != 0 && errno != EEXIST) {
    return tl::unexpected(fmt::format("runtime folder {}: {}", folder.string(), std::strerror(errno)));
  }
  const std::filesystem::path file = folder / "controlplane.lock";
  UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return tl::unexpected(fmt::format("{}: {}", file.string(), std::strerror(errno)));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    const bool known = errno == EWOULDBLOCK && pread(fd.get(), pid, sizeof pid - 1, 0) > 0;
    pid[strcspn(pid, "\n")] = '\0';
    return tl::unexpected(
        fmt::format("another control plane (pid {}) runs on {}; stop it first, or set another "
                    "runtime_dir in [node]",
                    known ? pid : "unknown", folder.string()));
  }
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), text.data(), text.size(), 0) < 0) {
    return tl::unexpected(fmt::format("{}: {}", file.string(), std::strerror(errno)));
  }
  return fd;
}

}  // namespace linimo
