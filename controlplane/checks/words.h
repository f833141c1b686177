// What the control plane and the helper that runs programs for it (linimo-checks) tell each other.
//
// A connection (SOCK_SEQPACKET) is one run of one program:
//
//   control plane                                        helper
//   argv, NUL behind each word + where output goes ->
//                                                    <-  started, or why not
//                                                    <-  how it ended
//
// Closing the connection before that ends the program and what it has started. Both are of one package: there
// are no versions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace linimo {

/// The socket's name in the runtime folder.
inline constexpr const char* kChecksSocket = "checks.sock";

/// The descriptor that the helper listens on, from whoever starts it.
inline constexpr int kChecksListenFd = 3;

inline constexpr size_t kMostArgvBytes = 8192;

struct CheckAnswer {
  enum What : uint32_t {
    kStarted,   // value: 0, or the errno for which it was not
    kExited,    // value: the exit code
    kSignaled,  // value: the signal
  };
  uint32_t what = kStarted;
  int32_t value = 0;
};

}  // namespace linimo
