#include "dataplane/xdp/pins.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/xdp/array_map.h"

namespace linimo::xdp {
namespace {

constexpr std::string_view kLink = "link-";

std::filesystem::path of_process(pid_t pid) {
  return fmt::format("/proc/{}", pid);
}

pid_t parent_of(pid_t pid) {
  std::ifstream file(of_process(pid) / "stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');  // a name may hold anything
  char state = 0;
  pid_t parent = 0;
  if (name_end != std::string::npos) std::istringstream(text.substr(name_end + 1)) >> state >> parent;
  return parent;
}

/// Whose mounts outlive this process: the topmost of its ancestors that it may look at, as a rule the first
/// process. 0: it may look at none.
pid_t system_process() {
  pid_t found = 0;
  struct stat unused {};
  for (pid_t pid = getppid(); pid > 0; pid = parent_of(pid)) {
    if (stat((of_process(pid) / "ns/mnt").c_str(), &unused) == 0) found = pid;
  }
  return found;
}

/// Does this process have mounts of its own, which go when it ends (`unshare --mount`, `ip netns exec`, a
/// unit with PrivateTmp= and the like)? Nothing: it may not know.
std::optional<bool> has_own_mounts() {
  struct stat own {
  }, system{};
  if (stat("/proc/self/ns/mnt", &own) != 0 ||
      stat((of_process(system_process()) / "ns/mnt").c_str(), &system) != 0)
    return std::nullopt;
  return own.st_ino != system.st_ino || own.st_dev != system.st_dev;
}

/// Without symbolic links, which would lead back among this process's own mounts.
std::filesystem::path plain_root(const std::filesystem::path& runtime_dir) {
  return std::filesystem::weakly_canonical(runtime_dir) / "bpf";
}

/// As the system sees the folder, whichever mounts this process has.
std::filesystem::path root_of(const std::filesystem::path& runtime_dir) {
  const std::filesystem::path root = plain_root(runtime_dir);
  return has_own_mounts().value_or(false) ? of_process(system_process()) / "root" / root.relative_path()
                                          : root;
}

/// Runs what changes mounts where the system will see it: in a child among the system's mounts, if this
/// process has its own. Returns 0 or an errno.
int among_system_mounts(const std::filesystem::path& runtime_dir,
                        int (*change)(const std::filesystem::path& root)) {
  const std::filesystem::path root = plain_root(runtime_dir);
  if (!has_own_mounts().value_or(false)) return change(root);
  const UniqueFd mounts(open((of_process(system_process()) / "ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
  if (!mounts) return errno;
  const pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) _exit(setns(mounts.get(), CLONE_NEWNS) != 0 ? errno : change(root));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

int mount_at(const std::filesystem::path& root) {
  std::error_code error;
  std::filesystem::create_directories(root, error);
  return mount("bpf", root.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0 ? 0 : errno;
}

int unmount_at(const std::filesystem::path& root) {
  if (umount2(root.c_str(), MNT_DETACH) != 0) return errno;
  std::error_code error;
  std::filesystem::remove(root, error);
  return 0;
}

bool is_bpffs(const std::filesystem::path& folder) {
  struct statfs status {};
  return statfs(folder.c_str(), &status) == 0 && status.f_type == BPF_FS_MAGIC;
}

std::vector<std::filesystem::path> entries(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) found.push_back(entry.path());
  return found;
}

/// The number of entries of a pinned map; 0: there is none.
uint32_t entries_of_map(const std::filesystem::path& pin) {
  const UniqueFd fd(bpf_obj_get(pin.c_str()));
  bpf_map_info info{};
  uint32_t length = sizeof info;
  return fd && bpf_obj_get_info_by_fd(fd.get(), &info, &length) == 0 ? info.max_entries : 0;
}

/// All inner maps are of one size; not every place has one.
uint32_t entries_of_inner(const std::filesystem::path& maps, const char* outer) {
  for (uint32_t row = 0; row < LINIMO_MAX_ROWS; ++row) {
    uint64_t cells = 0;
    if (pinned_map(pin_of_inner(maps, outer, row), cells)) return static_cast<uint32_t>(cells);
  }
  return 0;
}

}  // namespace

tl::expected<Pins, std::string> Pins::open(const std::filesystem::path& runtime_dir) {
  const std::filesystem::path root = root_of(runtime_dir);
  const int error = is_bpffs(root) ? 0 : among_system_mounts(runtime_dir, mount_at);
  if (is_bpffs(root)) return Pins(root, has_own_mounts());
  const std::string what =
      fmt::format("{}: cannot mount a bpffs: {}", root.string(), std::strerror(error != 0 ? error : ENOENT));
  if (!has_own_mounts().value_or(false)) {
    return tl::unexpected(
        what +
        " (run as root; the program and its tables are pinned there so that forwarding outlives "
        "this process)");
  }
  const std::string folder = plain_root(runtime_dir).string();
  return tl::unexpected(
      fmt::format("{}; this process has mounts of its own, and what it pins among them would end with it: "
                  "write into its unit "
                  "\"ExecStartPre=+/bin/sh -c 'mkdir -p {} && mount -t bpf bpf {}'\"",
                  what, folder, folder));
}

void Pins::judge(ConditionBoard& board) const {
  if (!is_bpffs(root_)) {
    board.set("bpffs-shared", "", ConditionState::kFails,
              fmt::format("{} is mounted no more: forwarding would end with this process", root_.string()),
              "systemctl restart linimo-dataplane");
  } else if (!own_mounts_) {
    board.set("bpffs-shared", "", ConditionState::kUnknown,
              "this process may not see whether its mounts are the system's");
  } else {
    board.set("bpffs-shared", "", ConditionState::kHolds);
  }
}

Pins::Pins(std::filesystem::path root, std::optional<bool> own_mounts)
    : root_(std::move(root)), own_mounts_(own_mounts) {
  if (!own_mounts_.value_or(false)) return;
  // The process by which it was reached may end; an open folder stays.
  folder_ = std::make_shared<const UniqueFd>(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (*folder_) root_ = fmt::format("/proc/self/fd/{}", folder_->get());
}

std::filesystem::path Pins::maps() const {
  return root_ / fmt::format("v{}-{}", LINIMO_ABI_VERSION, LINIMO_XDP_LAYOUT);
}

std::string Pins::discard_other_shape(const Shape& shape) const {
  const uint32_t rows = entries_of_map(maps() / "flows");
  if (rows == 0) return {};
  const uint32_t buckets = entries_of_inner(maps(), "connections");
  if (rows == shape.all_rows() && buckets == shape.buckets()) return {};
  // Not removed before the new program is attached (remove_orphans): the kernel empties the map of tail calls
  // with its last pin, though the program before still needs it.
  std::error_code error;
  std::filesystem::rename(maps(), root_ / fmt::format("replaced-{}", getpid()), error);
  if (error) std::filesystem::remove_all(maps(), error);
  return fmt::format(
      "there was room for {} receive queues with {} buckets of flows each, now for {} with {}: tracked flows "
      "and counters begin anew",
      rows - 1, buckets, shape.rows, shape.buckets());
}

void Pins::remove_orphans(const std::vector<std::string>& devices) const {
  std::error_code error;
  for (const auto& entry : entries(root_)) {
    const std::string name = entry.filename();
    const bool ours = entry == maps() || std::any_of(devices.begin(), devices.end(), [&](const auto& device) {
                        return link(device) == entry;
                      });
    if (!ours) std::filesystem::remove_all(entry, error);
  }
}

std::vector<std::string> interfaces_left(const std::filesystem::path& runtime_dir) {
  std::vector<std::string> left;
  const std::filesystem::path root = root_of(runtime_dir);
  if (!is_bpffs(root)) return left;
  for (const auto& entry : entries(root)) {
    const std::string name = entry.filename();
    if (name.starts_with(kLink)) left.push_back(name.substr(kLink.size()));
  }
  return left;
}

tl::expected<std::vector<std::string>, std::string> detach_all(const std::filesystem::path& runtime_dir) {
  const std::filesystem::path root = root_of(runtime_dir);
  std::vector<std::string> done;
  if (!is_bpffs(root)) return done;
  for (const auto& entry : entries(root)) {
    const std::string name = entry.filename();
    if (!name.starts_with(kLink)) continue;
    // The pin may not be the last reference to the link, a process may hold one: detaching works in any case.
    const UniqueFd link(bpf_obj_get(entry.c_str()));
    if (link && bpf_link_detach(link.get()) != 0 && errno != ENOLINK)
      return tl::unexpected(fmt::format("{}: {}", entry.string(), std::strerror(errno)));
    done.push_back(fmt::format("{}: program detached", name.substr(kLink.size())));
  }
  std::error_code ignored;
  for (const auto& entry : entries(root)) std::filesystem::remove_all(entry, ignored);
  if (const int error = among_system_mounts(runtime_dir, unmount_at); error != 0)
    return tl::unexpected(fmt::format("{}: {}", root.string(), std::strerror(error)));
  done.push_back(fmt::format("{}: removed", root.string()));
  return done;
}

}  // namespace linimo::xdp
