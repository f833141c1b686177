// What outlives the process: the folder on a bpffs where maps and links are pinned.
//
//   <runtime_dir>/bpf           a bpffs of this node's own, mounted when it is first needed
//   <runtime_dir>/bpf/v5-4/MAP  maps, under the versions of the ABI and of the layout they obey
//   <runtime_dir>/bpf/link-DEV  what attaches the program to an interface: it survives an upgrade, so that a
//   new
//                               program takes the old one's place between two packets
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/conditions.h"
#include "dataplane/xdp/program.h"
#include "maglev/unique_fd.h"

namespace linimo::xdp {

class Pins {
 public:
  /// Mounts the bpffs if it is not there, among the system's mounts even if this process has its own. Before
  /// there are threads. The error says what to do.
  static tl::expected<Pins, std::string> open(const std::filesystem::path& runtime_dir);

  std::filesystem::path maps() const;
  /// What a capture's filters lead to: the kernel empties a map of programs that nobody holds.
  std::filesystem::path capture() const { return root_ / "capture"; }
  std::filesystem::path link(const std::string& device) const { return root_ / ("link-" + device); }

  /// Maps that were pinned for another shape are of no use: they are removed, and what is lost is returned in
  /// words; empty: nothing was.
  std::string discard_other_shape(const Shape& shape) const;

  /// Keeps the condition `bpffs-shared`: what is pinned outlives this process. Control thread.
  void judge(ConditionBoard& board) const;

  /// Maps of other ABI versions, once the new program is attached; links of interfaces that are not in
  /// `devices`.
  void remove_orphans(const std::vector<std::string>& devices) const;

 private:
  Pins(std::filesystem::path root, std::optional<bool> own_mounts);

  std::filesystem::path root_;
  std::optional<bool> own_mounts_;  // has the process mounts that end with it? Nothing: it cannot know
  std::shared_ptr<const UniqueFd> folder_;
};

/// On which an earlier process of engine xdp has left the program.
std::vector<std::string> interfaces_left(const std::filesystem::path& runtime_dir);

/// Takes the program off every interface and removes what is pinned, and the bpffs. Says what it did, a line
/// each.
tl::expected<std::vector<std::string>, std::string> detach_all(const std::filesystem::path& runtime_dir);

}  // namespace linimo::xdp
