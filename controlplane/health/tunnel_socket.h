// The socket of a check through the tunnel (maglev/probes.h): connected to the VIP, it reaches one backend.
#pragma once

#include "controlplane/config/health_config.h"
#include "controlplane/health/own_failure.h"
#include "maglev/address.h"
#include "maglev/unique_fd.h"

namespace linimo {

/// The kernel's index of the device that such checks leave by; 0: no data plane is there to take them, and a
/// check says nothing about any backend. Should it change during a check, that has not said anything either:
/// without the device a check's packets go where a client's would, to any backend.
unsigned tunnel_device();
inline bool tunnel_lost(unsigned at_the_start) {
  return at_the_start == 0 || at_the_start != tunnel_device();
}
inline Verdict no_tunnel() {
  return {.healthy = false, .detail = "no data plane takes checks to the tunnel", .says_nothing = true};
}

/// There is no socket, for an errno: what is missing may be the data plane's file, which comes with it.
inline Verdict no_tunnel_socket(int error) {
  Verdict verdict = cannot_check(error);
  verdict.checker_lacks = error != ENOENT;
  return verdict;
}

/// A TCP socket, non-blocking, to be connected to `tunnel.vip`. Closed, it resets its connection: one that
/// lingered would hold its port, which no other check could then use, for a minute. Empty, with errno, when
/// it cannot be had.
UniqueFd open_tunnel_socket(const TunnelCheck& tunnel, const Address& backend);

}  // namespace linimo
