// What a daemon gives up at its start.
#pragma once

#include <sys/prctl.h>

namespace linimo {

/// No core dump holds this process's memory, the hash seed in it, and no other user may trace it; no program
/// that it starts has more rights than itself. prctl(2).
inline void harden_process() {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

}  // namespace linimo
