#include "controlplane/process_lock.h"

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/file.h>

#include "controlplane/unix/peer.h"
#include "maglev/state_file.h"

namespace linimo {

tl::expected<UniqueFd, std::string> lock_runtime_dir(const std::filesystem::path& folder) {
  if (auto made = make_own_folder(folder, operators_group()); !made) {
    return tl::unexpected(
        fmt::format("{} (runtime_dir in [node] names the folder for sockets)", made.error()));
  }
  const std::filesystem::path file = folder / "controlplane.lock";
  auto fd = open_own_file(file);
  if (!fd) return fd;
  if (flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    const bool known = errno == EWOULDBLOCK && pread(fd->get(), pid, sizeof pid - 1, 0) > 0;
    pid[strcspn(pid, "\n")] = '\0';
    return tl::unexpected(
        fmt::format("another control plane (pid {}) runs on {}; stop it first, or set another "
                    "runtime_dir in [node]",
                    known ? pid : "unknown", folder.string()));
  }
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd->get(), 0) != 0 || pwrite(fd->get(), text.data(), text.size(), 0) < 0) {
    return tl::unexpected(fmt::format("{}: {}", file.string(), std::strerror(errno)));
  }
  return fd;
}

}  // namespace linimo
