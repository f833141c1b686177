#include "dataplane/dpdk/tap.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "maglev/os/device_socket.h"

namespace linimo::dpdk {

tl::expected<Tap, std::string> create_tap(const std::string& name, const Mac& mac, uint16_t mtu,
                                          bool addresses_move_here) {
  const auto failed = [&](const char* what) {
    return tl::unexpected(fmt::format("TAP {}: {}: {}", name, what, std::strerror(errno)));
  };
  Tap tap{.name = name, .index = 0, .fd = UniqueFd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC))};
  if (!tap.fd) return failed("/dev/net/tun (is the module tun loaded?)");
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(tap.fd.get(), TUNSETIFF, &request) != 0) {
    return failed(errno == EBUSY ? "another process has it (another data plane in this network namespace?)"
                                 : "create");
  }

  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.data(), 6);
  if (ioctl(device_socket(), SIOCSIFHWADDR, &request) != 0) return failed("set the MAC address");
  request.ifr_mtu = mtu;
  if (ioctl(device_socket(), SIOCSIFMTU, &request) != 0) return failed("set the MTU");
  if (addresses_move_here) std::ofstream(fmt::format("/proc/sys/net/ipv6/conf/{}/addr_gen_mode", name)) << 1;
  if (ioctl(device_socket(), SIOCGIFFLAGS, &request) != 0) return failed("read the flags");
  request.ifr_flags |= IFF_UP;
  if (ioctl(device_socket(), SIOCSIFFLAGS, &request) != 0) return failed("set it up");
  if (ioctl(device_socket(), SIOCGIFINDEX, &request) != 0) return failed("read the index");
  tap.index = request.ifr_ifindex;
  return tap;
}

tl::expected<Tap, std::string> adopt_tap(const std::string& name, UniqueFd fd) {
  ifreq request{};
  if (ioctl(fd.get(), TUNGETIFF, &request) != 0 || name != request.ifr_name)
    return tl::unexpected(fmt::format("TAP {}: what was handed over is another device", name));
  const auto index = static_cast<int>(if_nametoindex(name.c_str()));
  if (index == 0) return tl::unexpected(fmt::format("TAP {}: {}", name, std::strerror(errno)));
  return Tap{.name = name, .index = index, .fd = std::move(fd)};
}

void set_carrier(const Tap& tap, bool carrier) {
  const int on = carrier ? 1 : 0;
  ioctl(tap.fd.get(), TUNSETCARRIER, &on);
  // The kernel may leave a lost carrier's routes as they are for a second, unless somebody asks for the link.
  ethtool_value link{.cmd = ETHTOOL_GLINK, .data = 0};
  ifreq request{};
  tap.name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&link);
  ioctl(device_socket(), SIOCETHTOOL, &request);
}

}  // namespace linimo::dpdk
