#include "controlplane/health/tunnel_socket.h"

#include <utility>

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlplane/health/socket_address.h"
#include "maglev/os/device_socket.h"
#include "maglev/probes.h"

namespace linimo {

unsigned tunnel_device() {
  return device_index(kProbeDevice);
}

UniqueFd open_tunnel_socket(const TunnelCheck& tunnel, const Address& backend) {
  const bool v6 = !tunnel.vip.is_v4();
  UniqueFd fd(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const linger reset{.l_onoff = 1, .l_linger = 0};
  if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &kProbeMark, sizeof kProbeMark) != 0 ||
      setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0)
    return {};
  // A port of its own, before the first packet: it is what the data plane knows the check by.
  const Address any = v6 ? Address{} : Address::v4(INADDR_ANY);
  const SocketAddress local(tunnel.source.is_zero() ? any : tunnel.source, 0);
  if (bind(fd.get(), &local.any, local.size) != 0) return {};
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return {};
  const uint16_t port = ntohs(v6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                 : reinterpret_cast<const sockaddr_in&>(bound).sin_port);

  ProbeRoute route;
  route.backend = backend.to_abi();
  route.gue_port = tunnel.gue_port;
  route.is_set = 1;
  route.encapsulation = static_cast<uint8_t>(tunnel.encapsulation);
  const UniqueFd file(open(tunnel.routes.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  const bool told =
      file && pwrite(file.get(), &route, sizeof route, probe_route_offset(v6, port)) == sizeof route;
  return told ? std::move(fd) : UniqueFd();  // to close it succeeds, and leaves errno as it is
}

}  // namespace linimo
