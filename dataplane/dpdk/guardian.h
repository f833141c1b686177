// The guardian: a child process that gives the netdevs their addresses and routes back when the data plane
// ends, however it ends. It does nothing else, so that there is one way back and every exit takes it.
//
//   Guardian guardian;                     // before threads, ports and DPDK: it forks
//   guardian.protect(states);              // from now on the way back is known
//   ...
//   guardian.release();                    // on a clean end: waits until all is back
#pragma once

#include <vector>

#include <sys/types.h>

#include "dataplane/dpdk/takeover.h"
#include "maglev/unique_fd.h"

namespace linimo::dpdk {

class Guardian {
 public:
  Guardian();
  ~Guardian() { release(); }
  Guardian(const Guardian&) = delete;

  void protect(const std::vector<DeviceState>& states);
  void release();

 private:
  UniqueFd journal_;  // a memfd that both processes hold
  UniqueFd alive_;    // its end of file tells the guardian that this process is gone
  pid_t child_ = -1;
};

}  // namespace linimo::dpdk
