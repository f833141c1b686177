#include "maglev/os/kernel_routes.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "maglev/config/announce.h"

namespace linimo {
namespace {

constexpr size_t kRequestBytes = 256;

std::span<const uint8_t> bytes_of(const nlmsghdr& message) {
  return {reinterpret_cast<const uint8_t*>(&message), message.nlmsg_len};
}

rtmsg& put_route(nlmsghdr& message, uint8_t family, uint32_t table) {
  auto& route = *static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(&message, sizeof(rtmsg)));
  route.rtm_family = family;
  route.rtm_table = table < 256 ? static_cast<uint8_t>(table) : uint8_t{RT_TABLE_COMPAT};
  route.rtm_protocol = kAnnounceProtocol;
  mnl_attr_put_u32(&message, RTA_TABLE, table);
  return route;
}

Address address_in(const nlattr* attribute) {
  Address address;
  if (mnl_attr_get_payload_len(attribute) == 4) return Address::v4(mnl_attr_get_u32(attribute));
  if (mnl_attr_get_payload_len(attribute) == 16)
    std::memcpy(address.bytes.data(), mnl_attr_get_payload(attribute), 16);
  return address;
}

std::optional<VipRoute> route_in(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWROUTE) return std::nullopt;
  const auto& fixed = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
  // An older kernel does not heed what a dump asks for and tells of every route.
  if (fixed.rtm_protocol != kAnnounceProtocol || (fixed.rtm_flags & RTM_F_CLONED) != 0) return std::nullopt;
  const bool v4 = fixed.rtm_family == AF_INET;
  VipRoute route;
  if (v4) route.vip.address = Address::v4(0);
  route.vip.length = fixed.rtm_dst_len + (v4 ? 96u : 0u);
  route.dead = (fixed.rtm_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case RTA_DST:
        route.vip.address = address_in(attribute);
        break;
      case RTA_PRIORITY:
        route.metric = mnl_attr_get_u32(attribute);
        break;
      case RTA_OIF:
        route.device = mnl_attr_get_u32(attribute);
        break;
      default:
        break;
    }
  });
  return route;
}

std::optional<uint32_t> table_of(const nlmsghdr& message) {
  std::optional<uint32_t> table;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == RTA_TABLE) table = mnl_attr_get_u32(attribute);
  });
  return table;
}

}  // namespace

KernelRoutes::KernelRoutes() {
  netlink_.dump_what_is_asked_for();
}

tl::expected<std::set<VipRoute>, int> KernelRoutes::read(uint32_t table) {
  std::set<VipRoute> routes;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    alignas(nlmsghdr) char memory[kRequestBytes] = {};
    nlmsghdr& message = *mnl_nlmsg_put_header(memory);
    message.nlmsg_type = RTM_GETROUTE;
    put_route(message, family, table);
    const int error = -netlink_.dump(bytes_of(message), [&](const nlmsghdr& answer) {
      if (table_of(answer) != table) return;
      if (const auto route = route_in(answer)) routes.insert(*route);
    });
    // A table that never had a route does not exist.
    if (error != 0 && error != ENOENT) return tl::unexpected(error);
  }
  return routes;
}

int KernelRoutes::change(uint16_t type, uint16_t flags, uint32_t table, const VipRoute& route) {
  alignas(nlmsghdr) char memory[kRequestBytes] = {};
  nlmsghdr& message = *mnl_nlmsg_put_header(memory);
  message.nlmsg_type = type;
  message.nlmsg_flags = flags;
  const bool v4 = route.vip.is_v4();
  rtmsg& fixed = put_route(message, v4 ? AF_INET : AF_INET6, table);
  fixed.rtm_dst_len = static_cast<uint8_t>(route.vip.length - (v4 ? 96 : 0));
  fixed.rtm_type = RTN_UNICAST;
  fixed.rtm_scope = v4 && type == RTM_NEWROUTE ? RT_SCOPE_LINK : RT_SCOPE_NOWHERE;
  if (!v4) fixed.rtm_scope = RT_SCOPE_UNIVERSE;
  const Address& address = route.vip.address;
  mnl_attr_put(&message, RTA_DST, v4 ? 4 : 16, address.bytes.data() + (v4 ? 12 : 0));
  mnl_attr_put_u32(&message, RTA_PRIORITY, route.metric);
  if (route.device != 0) mnl_attr_put_u32(&message, RTA_OIF, route.device);
  return -netlink_.request(bytes_of(message));
}

int KernelRoutes::add(uint32_t table, const VipRoute& route) {
  return change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, table, route);
}

int KernelRoutes::remove(uint32_t table, const VipRoute& route) {
  return change(RTM_DELROUTE, 0, table, route);
}

}  // namespace linimo
