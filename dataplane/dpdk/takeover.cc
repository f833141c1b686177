#include "dataplane/dpdk/takeover.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <poll.h>

#include "maglev/config/announce.h"

namespace linimo::dpdk {
namespace {

constexpr std::chrono::milliseconds kToldWithin{500};

NetlinkMessage copy_of(const nlmsghdr& message) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&message);
  return {bytes, bytes + message.nlmsg_len};
}

nlmsghdr* header_of(NetlinkMessage& message) {
  return reinterpret_cast<nlmsghdr*>(message.data());
}

void for_each_nexthop(const nlattr* attribute, const std::function<void(rtnexthop&)>& visit) {
  auto* hop = static_cast<rtnexthop*>(mnl_attr_get_payload(attribute));
  int left = mnl_attr_get_payload_len(attribute);
  while (RTNH_OK(hop, left)) {
    visit(*hop);
    left -= RTNH_ALIGN(hop->rtnh_len);
    hop = RTNH_NEXT(hop);
  }
}

bool leaves_by(const nlmsghdr& message, int index) {
  bool found = false;
  for_each_attribute(message, sizeof(rtmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == RTA_OIF)
      found |= static_cast<int>(mnl_attr_get_u32(attribute)) == index;
    if (mnl_attr_get_type(attribute) == RTA_MULTIPATH) {
      for_each_nexthop(attribute, [&](rtnexthop& hop) { found |= hop.rtnh_ifindex == index; });
    }
  });
  return found;
}

/// The address as a request for another device. Duplicate address detection is left out: the address was in
/// use a moment ago, and a second's silence would lose traffic. The label (an old alias name) holds the
/// device's name.
NetlinkMessage address_on(const NetlinkMessage& original, int index) {
  NetlinkMessage request(original.size() + 64);
  nlmsghdr* to = mnl_nlmsg_put_header(request.data());
  const auto& from = *reinterpret_cast<const nlmsghdr*>(original.data());
  to->nlmsg_type = RTM_NEWADDR;
  to->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
  auto* fixed = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(to, sizeof(ifaddrmsg)));
  std::memcpy(fixed, mnl_nlmsg_get_payload(&from), sizeof *fixed);
  fixed->ifa_index = static_cast<uint32_t>(index);
  uint32_t flags = fixed->ifa_flags;
  for_each_attribute(from, sizeof(ifaddrmsg), [&](const nlattr* attribute) {
    const uint16_t type = mnl_attr_get_type(attribute);
    if (type == IFA_FLAGS) flags = mnl_attr_get_u32(attribute);
    if (type == IFA_FLAGS || type == IFA_LABEL) return;
    mnl_attr_put(to, type, mnl_attr_get_payload_len(attribute), mnl_attr_get_payload(attribute));
  });
  flags = (flags & ~uint32_t{IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_SECONDARY}) | IFA_F_NODAD;
  fixed->ifa_flags = static_cast<uint8_t>(flags);
  mnl_attr_put_u32(to, IFA_FLAGS, flags);
  request.resize(to->nlmsg_len);
  return request;
}

NetlinkMessage route_on(NetlinkMessage message, int old_index, int index) {
  nlmsghdr* header = header_of(message);
  header->nlmsg_type = RTM_NEWROUTE;
  header->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
  auto* fixed = static_cast<rtmsg*>(mnl_nlmsg_get_payload(header));
  fixed->rtm_flags &= RTNH_F_ONLINK;  // the others report, they do not ask
  for_each_attribute(*header, sizeof(rtmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == RTA_OIF) {
      std::memcpy(mnl_attr_get_payload(attribute), &index, sizeof index);
    } else if (mnl_attr_get_type(attribute) == RTA_MULTIPATH) {
      for_each_nexthop(attribute, [&](rtnexthop& hop) {
        hop.rtnh_flags &= RTNH_F_ONLINK;
        if (hop.rtnh_ifindex == old_index) hop.rtnh_ifindex = index;
      });
    } else if (mnl_attr_get_type(attribute) == RTA_CACHEINFO) {
      const_cast<nlattr*>(attribute)->nla_type = RTA_UNSPEC;  // read-only
    }
  });
  return message;
}

NetlinkMessage deletion(NetlinkMessage message, uint16_t type) {
  header_of(message)->nlmsg_type = type;
  header_of(message)->nlmsg_flags = 0;
  return message;
}

/// Family and bytes.
std::string address_in(const nlmsghdr& message) {
  std::string found(
      1, static_cast<char>(static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message))->ifa_family));
  for_each_attribute(message, sizeof(ifaddrmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == IFA_ADDRESS)
      found.append(static_cast<const char*>(mnl_attr_get_payload(attribute)),
                   mnl_attr_get_payload_len(attribute));
  });
  return found;
}

/// Whoever listens hears of an IPv6 address from a work queue of the kernel's, later than it is there. One
/// that the device did not take is waited for in vain.
void wait_until_told(Netlink& told, const DeviceState& state, int index) {
  std::set<std::string> missing;
  for (const NetlinkMessage& address : state.addresses) {
    const auto& message = *reinterpret_cast<const nlmsghdr*>(address.data());
    const auto* fixed = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
    if (fixed->ifa_scope < RT_SCOPE_LINK)
      missing.insert(address_in(message));  // the others the kernel makes itself
  }
  const auto until = std::chrono::steady_clock::now() + kToldWithin;
  while (!missing.empty()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd waiting{.fd = told.fd(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || poll(&waiting, 1, static_cast<int>(left.count())) < 0) return;
    const bool all_heard = told.receive([&](const nlmsghdr& message) {
      const auto* fixed = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
      if (message.nlmsg_type == RTM_NEWADDR && static_cast<int>(fixed->ifa_index) == index)
        missing.erase(address_in(message));
    });
    if (!all_heard) return;
  }
}

/// What the kernel has already stays, instead of being replaced.
NetlinkMessage only_if_new(NetlinkMessage message) {
  header_of(message)->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
  return message;
}

/// `foreign`: the device has a life of its own, so what it has already is right.
void put_on(Netlink& netlink, const DeviceState& state, int index, bool foreign,
            std::vector<std::string>& failures) {
  const bool has_own = foreign && has_addresses(netlink, index);
  for (const NetlinkMessage& address : state.addresses) {
    if (has_own) break;
    const int error = netlink.request(address_on(address, index));
    if (error != 0 && error != -EEXIST)
      failures.push_back(fmt::format("an address: {}", std::strerror(-error)));
  }
  // A route may lean on another (a gateway that is reached by a host route), so go round while that helps.
  std::vector<const NetlinkMessage*> waiting;
  for (const NetlinkMessage& route : state.routes) waiting.push_back(&route);
  int error = 0;
  for (size_t before = waiting.size() + 1; !waiting.empty() && waiting.size() < before;) {
    before = waiting.size();
    std::erase_if(waiting, [&](const NetlinkMessage* route) {
      NetlinkMessage request = route_on(*route, state.index, index);
      const int result = netlink.request(foreign ? only_if_new(std::move(request)) : std::move(request));
      if (result != 0 && result != -EEXIST) error = result;
      return result == 0 || result == -EEXIST;
    });
  }
  if (!waiting.empty())
    failures.push_back(fmt::format("{} route(s): {}", waiting.size(), std::strerror(-error)));
}

}  // namespace

DeviceState read_device(Netlink& netlink, const std::string& name, int index) {
  DeviceState state;
  state.index = index;
  state.name = name;
  netlink.dump(RTM_GETADDR, AF_UNSPEC, sizeof(ifaddrmsg), [&](const nlmsghdr& message) {
    const auto* fixed = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
    if (static_cast<int>(fixed->ifa_index) == index) state.addresses.push_back(copy_of(message));
  });
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    netlink.dump(RTM_GETROUTE, family, sizeof(rtmsg), [&](const nlmsghdr& message) {
      const auto* fixed = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
      // Announcements are the control plane's: they must not come back with the NIC when this process dies.
      if (fixed->rtm_protocol == kAnnounceProtocol) return;
      const bool by_kernel = fixed->rtm_protocol == RTPROT_KERNEL || (fixed->rtm_flags & RTM_F_CLONED) != 0;
      if (!by_kernel && leaves_by(message, index)) state.routes.push_back(copy_of(message));
    });
  }
  return state;
}

bool has_addresses(Netlink& netlink, int index) {
  bool found = false;
  netlink.dump(RTM_GETADDR, AF_UNSPEC, sizeof(ifaddrmsg), [&](const nlmsghdr& message) {
    const auto* fixed = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
    found |= static_cast<int>(fixed->ifa_index) == index && fixed->ifa_scope < RT_SCOPE_LINK;
  });
  return found;
}

std::vector<std::string> move_to(Netlink& netlink, const DeviceState& state, int tap_index) {
  std::vector<std::string> failures;
  Netlink told(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
  put_on(netlink, state, tap_index, false, failures);
  wait_until_told(told, state, tap_index);
  // What was not replaced there. BIRD binds BFD's sockets on hearing of this, and never tries again what
  // fails.
  for (const NetlinkMessage& route : state.routes) netlink.request(deletion(route, RTM_DELROUTE));
  for (const NetlinkMessage& address : state.addresses) netlink.request(deletion(address, RTM_DELADDR));
  return failures;
}

std::vector<std::string> give_back(Netlink& netlink, const DeviceState& state, int index) {
  std::vector<std::string> failures;
  put_on(netlink, state, index, index != state.index, failures);
  return failures;
}

// The journal: for each device its index, its name, the TAP's name, then both lists, each as a count and
// (length, bytes).

std::vector<uint8_t> serialize(const std::vector<DeviceState>& states) {
  std::vector<uint8_t> bytes;
  const auto put = [&](const void* data, size_t size) {
    const auto length = static_cast<uint32_t>(size);
    const auto* length_bytes = reinterpret_cast<const uint8_t*>(&length);
    bytes.insert(bytes.end(), length_bytes, length_bytes + sizeof length);
    const auto* at = static_cast<const uint8_t*>(data);
    bytes.insert(bytes.end(), at, at + size);
  };
  for (const DeviceState& state : states) {
    put(&state.index, sizeof state.index);
    put(state.name.data(), state.name.size());
    put(state.tap.data(), state.tap.size());
    for (const auto* list : {&state.addresses, &state.routes}) {
      const auto count = static_cast<uint32_t>(list->size());
      put(&count, sizeof count);
      for (const NetlinkMessage& message : *list) put(message.data(), message.size());
    }
  }
  return bytes;
}

std::vector<DeviceState> deserialize(std::span<const uint8_t> bytes) {
  const auto take = [&]() -> std::span<const uint8_t> {
    uint32_t length = 0;
    if (bytes.size() < sizeof length) return {};
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > bytes.size() - sizeof length) length = 0;
    const auto item = bytes.subspan(sizeof length, length);
    bytes = bytes.subspan(sizeof length + length);
    return item;
  };
  const auto take_number = [&] {
    uint32_t number = 0;
    if (const auto item = take(); item.size() == sizeof number)
      std::memcpy(&number, item.data(), sizeof number);
    return number;
  };
  std::vector<DeviceState> states;
  while (!bytes.empty()) {
    DeviceState state;
    state.index = static_cast<int>(take_number());
    for (auto* text : {&state.name, &state.tap}) {
      const auto item = take();
      text->assign(item.begin(), item.end());
    }
    for (auto* list : {&state.addresses, &state.routes}) {
      for (uint32_t left = take_number(); left > 0 && !bytes.empty(); --left) {
        const auto item = take();
        list->emplace_back(item.begin(), item.end());
      }
    }
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace linimo::dpdk
