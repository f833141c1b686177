#include "controlplane/announce/kernel_routes.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

#include <fmt/format.h>
#include <linux/rtnetlink.h>

#include "maglev/config/announce.h"

namespace linimo {
namespace {

constexpr size_t kBufferBytes = 32 * 1024;  // the kernel fills no more for a dump
constexpr size_t kRequestBytes = 256;

int call(const nlmsghdr* message, void* visit) {
  (*static_cast<std::function<void(const nlmsghdr&)>*>(visit))(*message);
  return MNL_CB_OK;
}

template <typename Use>
void for_each_attribute(const nlmsghdr& message, Use use) {
  const auto step = [](const nlattr* attribute, void* with) {
    (*static_cast<Use*>(with))(attribute);
    return MNL_CB_OK;
  };
  mnl_attr_parse(&message, sizeof(rtmsg), step, &use);
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
  for_each_attribute(message, [&](const nlattr* attribute) {
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
  for_each_attribute(message, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == RTA_TABLE) table = mnl_attr_get_u32(attribute);
  });
  return table;
}

}  // namespace

KernelRoutes::KernelRoutes() : socket_(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)) {
  if (!socket_ || mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    throw std::system_error(errno, std::generic_category(), "netlink socket");
  // So that a dump tells of one table's routes and not of all that a router may have.
  const int on = 1;
  (void)mnl_socket_setsockopt(socket_.get(), NETLINK_GET_STRICT_CHK, const_cast<int*>(&on), sizeof on);
}

int KernelRoutes::transact(nlmsghdr& message, const Visit& visit) {
  message.nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), &message, message.nlmsg_len) < 0) return errno;
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    const ssize_t length = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (length < 0) return errno;
    const int verdict = mnl_cb_run(buffer.data(), static_cast<size_t>(length), sequence_,
                                   mnl_socket_get_portid(socket_.get()), call, const_cast<Visit*>(&visit));
    if (verdict < 0) return errno;
    if (verdict == MNL_CB_STOP) return 0;
  }
}

tl::expected<std::set<VipRoute>, int> KernelRoutes::read(uint32_t table) {
  std::set<VipRoute> routes;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    alignas(nlmsghdr) char memory[kRequestBytes] = {};
    nlmsghdr& message = *mnl_nlmsg_put_header(memory);
    message.nlmsg_type = RTM_GETROUTE;
    message.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    put_route(message, family, table);
    const int error = transact(message, [&](const nlmsghdr& answer) {
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
  message.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
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
  return transact(message, [](const nlmsghdr&) {});
}

int KernelRoutes::add(uint32_t table, const VipRoute& route) {
  return change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, table, route);
}

int KernelRoutes::remove(uint32_t table, const VipRoute& route) {
  return change(RTM_DELROUTE, 0, table, route);
}

Reconciled reconcile(KernelRoutes& kernel, uint32_t table, const std::set<VipRoute>& wanted, bool may_add) {
  Reconciled done;
  std::set<Prefix> failed;
  const auto fail = [&](const char* what, const Prefix& vip, int error) {
    failed.insert(vip);
    if (!done.failure.empty()) return;
    done.failure =
        fmt::format("{} {}: {}", what, vip.to_string(),
                    error == EEXIST ? "another's route of that metric is there" : std::strerror(error));
  };
  auto found = kernel.read(table);
  if (!found) {
    done.failure = fmt::format("table {}: {}", table, std::strerror(found.error()));
    return done;
  }
  done.present = std::move(*found);
  const auto has_route = [&](const Prefix& vip) {
    return std::any_of(done.present.begin(), done.present.end(),
                       [&](const VipRoute& route) { return route.vip == vip; });
  };
  for (const VipRoute& route : wanted) {
    if (done.present.contains(route) || (!may_add && !has_route(route.vip))) continue;
    // Of one prefix and metric the kernel takes one route: when the device is another (the engine has
    // changed), the old one has to go first.
    const auto old = std::find_if(done.present.begin(), done.present.end(), [&](const VipRoute& present) {
      return present.vip == route.vip && present.metric == route.metric;
    });
    if (old != done.present.end()) {
      kernel.remove(table, *old);
      done.present.erase(old);
    }
    if (const int error = kernel.add(table, route); error != 0) {
      fail("add", route.vip, error);
      continue;
    }
    done.present.insert(route);
    done.added.push_back(route);
  }
  const std::set<VipRoute> before = done.present;
  for (const VipRoute& route : before) {
    if (wanted.contains(route) || failed.contains(route.vip)) continue;
    // ESRCH: it went by itself, with its device for example.
    if (const int error = kernel.remove(table, route); error != 0 && error != ESRCH) {
      fail("remove", route.vip, error);
      continue;
    }
    done.present.erase(route);
    done.removed.push_back(route);
  }
  return done;
}

}  // namespace linimo
