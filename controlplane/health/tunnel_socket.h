// The socket of a check through the tunnel (maglev/probes.h): connected to the VIP, it reaches one backend.
#pragma once

#include "controlplane/config/health_config.h"
#include "maglev/address.h"
#include "maglev/unique_fd.h"

namespace linimo {

/// The kernel's index of the device that such checks leave by; 0: no data plane is there to take them, and a
/// check says nothing about any backend. Should it change during a check, that has not said anything either.
unsigned tunnel_device();

/// A TCP socket, non-blocking, to be connected to `tunnel.vip`. Closed, it resets its connection: one that
/// lingered would hold its port, which no other check could then use, for a minute. Empty, with errno, when
/// it cannot be had.
UniqueFd open_tunnel_socket(const TunnelCheck& tunnel, const Address& backend);

}  // namespace linimo
