#include "dataplane/netdev.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "maglev/unique_fd.h"

namespace linimo {

tl::expected<NetdevFacts, std::string> netdev_facts(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name) {
    return tl::unexpected(fmt::format("\"{}\" is no interface's name", name));
  }
  std::memcpy(request.ifr_name, name.data(), name.size());
  const UniqueFd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  NetdevFacts facts;
  if (ioctl(socket_fd.get(), SIOCGIFINDEX, &request) != 0) {
    return tl::unexpected(fmt::format("there is no interface {} (see `ip link`)", name));
  }
  facts.index = request.ifr_ifindex;
  if (ioctl(socket_fd.get(), SIOCGIFHWADDR, &request) == 0)
    std::memcpy(facts.mac.data(), request.ifr_hwaddr.sa_data, 6);
  if (ioctl(socket_fd.get(), SIOCGIFMTU, &request) == 0)
    facts.mtu = static_cast<uint16_t>(std::min(request.ifr_mtu, 0xffff));
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(socket_fd.get(), SIOCETHTOOL, &request) == 0) {
    facts.queues = std::max({channels.combined_count, channels.rx_count, 1U});
  }
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  request.ifr_data = reinterpret_cast<char*>(&driver);
  if (ioctl(socket_fd.get(), SIOCETHTOOL, &request) == 0) {
    facts.driver.assign(driver.driver, strnlen(driver.driver, sizeof driver.driver));
    facts.bus.assign(driver.bus_info, strnlen(driver.bus_info, sizeof driver.bus_info));
  }
  return facts;
}

}  // namespace linimo
