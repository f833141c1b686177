#include "dataplane/netdev.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "maglev/os/device_socket.h"

namespace linimo {
namespace {

constexpr size_t kStatisticsToSpare = 256;

/// Asks a device's driver; false: it does not know, or there is no such device.
class Ethtool {
 public:
  explicit Ethtool(const std::string& name) { name.copy(request_.ifr_name, sizeof request_.ifr_name - 1); }
  bool operator()(void* command) const {
    ifreq request = request_;
    request.ifr_data = static_cast<char*>(command);
    return ioctl(device_socket(), SIOCETHTOOL, &request) == 0;
  }

 private:
  ifreq request_{};
};

/// For drivers that ethtool(8) cannot ask for their channels. /sys may be another network namespace's: then
/// 0.
uint32_t queues_in_sysfs(const std::string& name, int index) {
  const std::filesystem::path folder = "/sys/class/net/" + name;
  int found = 0;
  if (!(std::ifstream(folder / "ifindex") >> found) || found != index) return 0;
  std::error_code error;
  uint32_t queues = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "queues", error))
    queues += entry.path().filename().string().starts_with("rx-") ? 1 : 0;
  return queues;
}

}  // namespace

tl::expected<NetdevFacts, std::string> netdev_facts(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name) {
    return tl::unexpected(fmt::format("\"{}\" is no interface's name", name));
  }
  std::memcpy(request.ifr_name, name.data(), name.size());
  const int asked = device_socket();
  NetdevFacts facts;
  if (ioctl(asked, SIOCGIFINDEX, &request) != 0) {
    return tl::unexpected(fmt::format("there is no interface {} (see `ip link`)", name));
  }
  facts.index = request.ifr_ifindex;
  if (ioctl(asked, SIOCGIFHWADDR, &request) == 0)
    std::memcpy(facts.mac.data(), request.ifr_hwaddr.sa_data, 6);
  if (ioctl(asked, SIOCGIFMTU, &request) == 0)
    facts.mtu = static_cast<uint16_t>(std::min(request.ifr_mtu, 0xffff));
  if (ioctl(asked, SIOCGIFFLAGS, &request) == 0) {
    facts.up = (request.ifr_flags & IFF_UP) != 0;
    facts.carrier = facts.up && (request.ifr_flags & IFF_RUNNING) != 0;
  }
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (ioctl(asked, SIOCETHTOOL, &request) == 0) {
    // A driver may have both kinds at once.
    facts.queues = std::max(channels.combined_count + channels.rx_count, 1U);
    facts.most_queues = std::max({channels.max_combined, channels.max_rx, facts.queues});
  } else {
    facts.queues = std::max(queues_in_sysfs(name, facts.index), 1U);
    facts.most_queues = 0;
  }
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  request.ifr_data = reinterpret_cast<char*>(&driver);
  if (ioctl(asked, SIOCETHTOOL, &request) == 0) {
    facts.driver.assign(driver.driver, strnlen(driver.driver, sizeof driver.driver));
    facts.bus.assign(driver.bus_info, strnlen(driver.bus_info, sizeof driver.bus_info));
  }
  return facts;
}

std::string master_of(Netlink& netlink, int index) {
  uint32_t master = 0;
  netlink.dump(RTM_GETLINK, AF_UNSPEC, sizeof(ifinfomsg), [&](const nlmsghdr& message) {
    if (static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message))->ifi_index != index) return;
    for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == IFLA_MASTER) master = mnl_attr_get_u32(attribute);
    });
  });
  char name[IF_NAMESIZE] = {};
  return master != 0 && if_indextoname(master, name) != nullptr ? name : "";
}

bool keep_vlan_tags(const std::string& name) {
  const Ethtool ask(name);
  const auto takes_out = [&](ethtool_value& flags) {
    flags = {.cmd = ETHTOOL_GFLAGS, .data = 0};
    return ask(&flags) && (flags.data & ETH_FLAG_RXVLAN) != 0;
  };
  ethtool_value flags{};
  if (!takes_out(flags)) return true;
  flags = {.cmd = ETHTOOL_SFLAGS, .data = flags.data & ~uint32_t{ETH_FLAG_RXVLAN}};
  ask(&flags);
  return !takes_out(flags);
}

tl::expected<UniqueFd, std::string> receive_everything(int index) {
  UniqueFd fd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));  // of no protocol: it gets no frames
  if (!fd) return tl::unexpected(std::string(std::strerror(errno)));
  for (const int wish : {PACKET_MR_ALLMULTI, PACKET_MR_PROMISC}) {
    packet_mreq request{};
    request.mr_ifindex = index;
    request.mr_type = static_cast<uint16_t>(wish);
    if (setsockopt(fd.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &request, sizeof request) != 0)
      return tl::unexpected(std::string(std::strerror(errno)));
  }
  return fd;
}

std::vector<NetdevStatistic> netdev_statistics(const std::string& name) {
  const Ethtool ask(name);
  alignas(ethtool_sset_info) std::byte set_memory[sizeof(ethtool_sset_info) + sizeof(uint32_t)] = {};
  auto* set = reinterpret_cast<ethtool_sset_info*>(set_memory);
  set->cmd = ETHTOOL_GSSET_INFO;
  set->sset_mask = 1ULL << ETH_SS_STATS;
  if (!ask(set) || set->sset_mask == 0) return {};
  const uint32_t count = set->data[0];
  // Room to spare: the number may grow between two questions, and the kernel writes what there is then.
  const size_t room = count + kStatisticsToSpare;
  std::vector<uint64_t> names_memory((sizeof(ethtool_gstrings) + room * ETH_GSTRING_LEN) / 8 + 1);
  auto* names = reinterpret_cast<ethtool_gstrings*>(names_memory.data());
  names->cmd = ETHTOOL_GSTRINGS;
  names->string_set = ETH_SS_STATS;
  names->len = count;
  std::vector<uint64_t> values_memory(sizeof(ethtool_stats) / 8 + room);
  auto* values = reinterpret_cast<ethtool_stats*>(values_memory.data());
  values->cmd = ETHTOOL_GSTATS;
  values->n_stats = count;
  if (!ask(names) || !ask(values) || names->len != values->n_stats || names->len > room) return {};
  std::vector<NetdevStatistic> statistics;
  for (uint32_t i = 0; i < names->len; ++i) {
    const auto* text = reinterpret_cast<const char*>(names->data + size_t{i} * ETH_GSTRING_LEN);
    statistics.push_back({std::string(text, strnlen(text, ETH_GSTRING_LEN)), values->data[i]});
  }
  return statistics;
}

uint64_t xdp_transmit_losses(std::span<const NetdevStatistic> statistics) {
  const auto has = [](const std::string& name, std::initializer_list<const char*> words) {
    return std::any_of(words.begin(), words.end(),
                       [&](const char* word) { return name.find(word) != std::string::npos; });
  };
  uint64_t sum = 0;
  for (const auto& [name, value] : statistics) {
    if (has(name, {"xdp"}) && has(name, {"tx", "xmit", "redirect"}) &&
        has(name, {"err", "full", "drop", "fail"}))
      sum += value;
  }
  return sum;
}

}  // namespace linimo
