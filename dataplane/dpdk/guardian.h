// The guardian: a child process that gives the netdevs their addresses and routes back when the data plane
// ends, however it ends. It does nothing else, so that there is one way back and every exit takes it.
//
//   Guardian guardian(journal);            // before threads, ports and DPDK: it forks
//   guardian.protect(states);              // from now on the way back is known
//   ...
//   guardian.release();                    // on a clean end: waits until all is back
//
// What was moved stands in a file. Should the guardian be killed too, the next start or `--detach` finds the
// file and gives back.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <sys/types.h>

#include "dataplane/dpdk/takeover.h"
#include "maglev/unique_fd.h"

namespace linimo::dpdk {

class Guardian {
 public:
  /// `journal`: a file in a folder that outlives the process and not the machine.
  explicit Guardian(std::filesystem::path journal);
  /// The guardian of the process before, by its alive_fd() and ended_fd(): what stands in its journal is this
  /// process's now.
  Guardian(std::filesystem::path journal, UniqueFd alive, UniqueFd ended)
      : journal_(std::move(journal)), alive_(std::move(alive)), ended_(std::move(ended)) {}
  ~Guardian() { release(); }
  Guardian(const Guardian&) = delete;

  void protect(const std::vector<DeviceState>& states);
  void release();
  /// It is another process's, which has both descriptors.
  void leave();

  /// Closed by everybody who has it, it tells the guardian to give back.
  int alive_fd() const { return alive_.get(); }
  /// Readable once the guardian has ended, which it does by itself only after this process.
  int ended_fd() const { return ended_.get(); }

 private:
  std::filesystem::path journal_;
  UniqueFd alive_;
  UniqueFd ended_;    // a pidfd
  pid_t child_ = -1;  // of this process, if it is
};

/// In the runtime folder.
inline std::filesystem::path journal_in(const std::filesystem::path& runtime_dir) {
  return runtime_dir / "moved-addresses";
}

/// Gives back what a journal says was moved and nobody has given back, and removes it. Only while no data
/// plane of that folder and no guardian lives. Returns what was done and what was not, a line each; empty:
/// there was no journal.
std::vector<std::string> give_back_orphaned(const std::filesystem::path& journal);

}  // namespace linimo::dpdk
