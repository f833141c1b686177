#include "dataplane/xdp/pins.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

namespace linimo::xdp {
namespace {

constexpr std::string_view kLink = "link-";

std::filesystem::path root_of(const std::filesystem::path& runtime_dir) {
  return runtime_dir / "bpf";
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

uint32_t entries_of_inner(const std::filesystem::path& pin) {
  const UniqueFd outer(bpf_obj_get(pin.c_str()));
  const uint32_t key = 0;
  uint32_t id = 0;
  if (!outer || bpf_map_lookup_elem(outer.get(), &key, &id) != 0) return 0;
  const UniqueFd inner(bpf_map_get_fd_by_id(id));
  bpf_map_info info{};
  uint32_t length = sizeof info;
  return inner && bpf_obj_get_info_by_fd(inner.get(), &info, &length) == 0 ? info.max_entries : 0;
}

}  // namespace

tl::expected<Pins, std::string> Pins::open(const std::filesystem::path& runtime_dir) {
  const std::filesystem::path root = root_of(runtime_dir);
  std::error_code error;
  std::filesystem::create_directories(root, error);
  if (!is_bpffs(root) &&
      mount("bpf", root.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) {
    return tl::unexpected(
        fmt::format("{}: cannot mount a bpffs: {} (run as root; the program and its tables are "
                    "pinned there so that forwarding outlives this process)",
                    root.string(), std::strerror(errno)));
  }
  return Pins(root);
}

std::filesystem::path Pins::maps() const {
  return root_ / fmt::format("v{}-{}", LINIMO_ABI_VERSION, LINIMO_XDP_LAYOUT);
}

std::string Pins::discard_other_shape(const Shape& shape) const {
  const uint32_t rows = entries_of_map(maps() / "flows");
  if (rows == 0) return {};
  const uint32_t buckets = entries_of_inner(maps() / "connections");
  if (rows == shape.rows && buckets == shape.buckets()) return {};
  std::error_code error;
  std::filesystem::remove_all(maps(), error);
  return fmt::format(
      "{} receive queues with {} buckets of flows each were there, now {} with {}: tracked flows and "
      "counters begin anew",
      rows, buckets, shape.rows, shape.buckets());
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
  std::error_code error;
  for (const auto& entry : entries(root)) std::filesystem::remove_all(entry, error);
  if (umount2(root.c_str(), MNT_DETACH) != 0)
    return tl::unexpected(fmt::format("{}: {}", root.string(), std::strerror(errno)));
  std::filesystem::remove(root, error);
  done.push_back(fmt::format("{}: removed", root.string()));
  return done;
}

}  // namespace linimo::xdp
