// What this machine lacks is no verdict on a backend: descriptors, ports, memory, a protocol.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "controlplane/health/backend_health.h"

namespace linimo {

/// The check could not be made, for a reason of our own.
inline Verdict cannot_check(std::string_view why) {
  return {.healthy = false,
          .detail = fmt::format("the checker cannot: {}", why),
          .says_nothing = true,
          .checker_lacks = true};
}

/// The same by an errno.
inline Verdict cannot_check(int error) {
  return cannot_check(std::strerror(error));
}

/// A call that concerns the backend has failed: its fault, unless the error says that it is ours.
inline Verdict failed_call(std::string_view call, int error) {
  switch (error) {
    case EMFILE:         // our limit of descriptors
    case ENFILE:         // the system's
    case ENOBUFS:        // memory of the network stack
    case ENOMEM:         //
    case EADDRNOTAVAIL:  // no local port is free, or no local address fits
      return cannot_check(error);
    default:
      return {.healthy = false, .detail = fmt::format("{}: {}", call, std::strerror(error))};
  }
}

}  // namespace linimo
