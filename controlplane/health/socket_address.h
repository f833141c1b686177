// An address and a port as the system's calls take them, and the socket of a check.
#pragma once

#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>

#include "maglev/address.h"
#include "maglev/unique_fd.h"

namespace linimo {

struct SocketAddress {
  SocketAddress(const Address& address, uint16_t port) {
    if (address.is_v4()) {
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      v4.sin_addr.s_addr = address.v4_network_order();
      size = sizeof v4;
    } else {
      v6 = {};
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      std::memcpy(&v6.sin6_addr, address.bytes.data(), sizeof v6.sin6_addr);
      size = sizeof v6;
    }
  }
  int family() const { return any.sa_family; }

  union {
    sockaddr any;
    sockaddr_in v4{};
    sockaddr_in6 v6;
  };
  socklen_t size = 0;
};

/// Non-blocking; empty, with errno, when it cannot be had.
inline UniqueFd open_socket(int family, int type, int protocol) {
  return UniqueFd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

}  // namespace linimo
