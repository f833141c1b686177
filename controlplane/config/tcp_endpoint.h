// Where a server of this process listens: an address of this machine and a port.
#pragma once

#include <cstdint>
#include <string>

#include "maglev/address.h"

namespace linimo {

struct TcpEndpoint {
  Address address;
  uint16_t port = 0;

  /// "127.0.0.1:9310", "[::1]:9310".
  std::string to_string() const {
    const std::string host = address.to_string();
    return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
  }
  bool operator==(const TcpEndpoint&) const = default;
};

}  // namespace linimo
