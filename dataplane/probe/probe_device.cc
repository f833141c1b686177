#include "dataplane/probe/probe_device.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fib_rules.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "maglev/os/device_socket.h"
#include "maglev/os/netlink.h"
#include "maglev/probes.h"

namespace linimo {
namespace {

constexpr int kMtu = 1400;                // with a tunnel around it, what any fabric carries
constexpr uint32_t kRulePriority = 7800;  // before the main table's

template <typename Fixed>
std::pair<nlmsghdr*, Fixed*> put_header(NetlinkMessage& buffer, uint16_t type, int flags) {
  buffer.assign(512, 0);
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  return {header, static_cast<Fixed*>(mnl_nlmsg_put_extra_header(header, sizeof(Fixed)))};
}

int request(Netlink& netlink, const NetlinkMessage& buffer, const nlmsghdr* header) {
  return netlink.request({buffer.data(), header->nlmsg_len});
}

int add_default_route(Netlink& netlink, uint8_t family, uint32_t device) {
  NetlinkMessage buffer;
  const auto [header, route] = put_header<rtmsg>(buffer, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  route->rtm_family = family;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_type = RTN_UNICAST;
  route->rtm_scope = family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  mnl_attr_put_u32(header, RTA_TABLE, kProbeTable);
  mnl_attr_put_u32(header, RTA_OIF, device);
  return request(netlink, buffer, header);
}

int change_rule(Netlink& netlink, uint8_t family, uint16_t type, int flags) {
  NetlinkMessage buffer;
  const auto [header, rule] = put_header<fib_rule_hdr>(buffer, type, flags);
  rule->family = family;
  rule->action = FR_ACT_TO_TBL;
  mnl_attr_put_u32(header, FRA_PRIORITY, kRulePriority);
  mnl_attr_put_u32(header, FRA_FWMARK, kProbeMark);
  mnl_attr_put_u32(header, FRA_FWMASK, ~0U);
  mnl_attr_put_u32(header, FRA_TABLE, kProbeTable);
  return request(netlink, buffer, header);
}

}  // namespace

tl::expected<UniqueFd, std::string> create_probe_device() {
  const auto failed = [&](const char* what, int error) {
    return tl::unexpected(fmt::format("{}: {}: {}", kProbeDevice, what, std::strerror(error)));
  };
  UniqueFd device(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!device) return failed("/dev/net/tun", errno);
  ifreq request{};
  std::strncpy(request.ifr_name, kProbeDevice, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(device.get(), TUNSETIFF, &request) != 0) return failed("create", errno);
  std::ofstream(fmt::format("/proc/sys/net/ipv6/conf/{}/addr_gen_mode", kProbeDevice)) << 1;  // no address
  request.ifr_mtu = kMtu;
  if (ioctl(device_socket(), SIOCSIFMTU, &request) != 0) return failed("set the MTU", errno);
  return device;
}

tl::expected<std::string, std::string> mend_probe_path(Netlink& netlink) {
  const auto failed = [&](const char* what, int error) {
    return tl::unexpected(fmt::format("{}: {}: {}", kProbeDevice, what, std::strerror(error)));
  };
  std::string mended;
  const auto note = [&](const char* what) { mended += (mended.empty() ? "" : ", ") + std::string(what); };
  ifreq request{};
  std::strncpy(request.ifr_name, kProbeDevice, sizeof request.ifr_name - 1);
  if (ioctl(device_socket(), SIOCGIFFLAGS, &request) != 0) return failed("read the flags", errno);
  if ((request.ifr_flags & IFF_UP) == 0) {
    request.ifr_flags |= IFF_UP;
    if (ioctl(device_socket(), SIOCSIFFLAGS, &request) != 0) return failed("set it up", errno);
    note("device set up");
  }
  if (ioctl(device_socket(), SIOCGIFINDEX, &request) != 0) return failed("read the index", errno);

  for (const uint8_t family : {AF_INET, AF_INET6}) {
    const int route = add_default_route(netlink, family, static_cast<uint32_t>(request.ifr_ifindex));
    if (route != 0 && route != -EEXIST) {
      if (family == AF_INET6) continue;  // a host without IPv6
      return failed("add its route", -route);
    }
    const int rule = change_rule(netlink, family, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    if (rule != 0 && rule != -EEXIST) return failed("add its rule", -rule);
    if (route == 0) note(family == AF_INET ? "IPv4 route" : "IPv6 route");
    if (rule == 0) note(family == AF_INET ? "IPv4 rule" : "IPv6 rule");
  }
  return mended;
}

uint32_t probe_path_groups() {
  return RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | 1U << (RTNLGRP_IPV4_RULE - 1) |
         1U << (RTNLGRP_IPV6_RULE - 1);
}

bool breaks_probe_path(const nlmsghdr& message) {
  const size_t length = mnl_nlmsg_get_payload_len(&message);
  const void* payload = mnl_nlmsg_get_payload(&message);
  switch (message.nlmsg_type) {
    case RTM_DELRULE:
    case RTM_DELLINK:
      return true;
    case RTM_DELROUTE:
      return length >= sizeof(rtmsg) && static_cast<const rtmsg*>(payload)->rtm_table == kProbeTable;
    case RTM_NEWLINK:
      return length >= sizeof(ifinfomsg) && (static_cast<const ifinfomsg*>(payload)->ifi_flags & IFF_UP) == 0;
    default:
      return false;
  }
}

void remove_probe_rules(Netlink& netlink) {
  for (const uint8_t family : {AF_INET, AF_INET6}) change_rule(netlink, family, RTM_DELRULE, 0);
}

void remove_orphaned_probe_rules() {
  if (device_index(kProbeDevice) != 0) return;
  Netlink netlink;
  remove_probe_rules(netlink);
}

}  // namespace linimo
