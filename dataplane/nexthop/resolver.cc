#include "dataplane/nexthop/resolver.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <linux/neighbour.h>
#include <spdlog/spdlog.h>

namespace linimo {
namespace {

constexpr uint32_t kGroups = RTMGRP_NEIGH | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_IFADDR |
                             RTMGRP_IPV6_IFADDR | RTMGRP_LINK;
constexpr auto kTick = std::chrono::milliseconds(20);  // route changes come in floods: look once for many
constexpr uint32_t kTicksBetweenReminders = 250;       // 5 s, for kernels that do not manage neighbours

struct RouteRequest {
  nlmsghdr header;
  rtmsg fixed;
  uint8_t attributes[64];
};

const uint8_t* family_bytes(const Address& address) {
  return address.bytes.data() + (address.is_v4() ? 12 : 0);
}
size_t family_size(const Address& address) {
  return address.is_v4() ? 4 : 16;
}

std::optional<Address> address_in(const nlattr* attribute, uint8_t family) {
  const auto* data = static_cast<const uint8_t*>(mnl_attr_get_payload(attribute));
  const size_t size = mnl_attr_get_payload_len(attribute);
  Address address;
  if (family == AF_INET && size == 4) {
    uint32_t v4 = 0;
    std::memcpy(&v4, data, 4);
    return Address::v4(v4);
  }
  if (family == AF_INET6 && size == 16) {
    std::memcpy(address.bytes.data(), data, 16);
    return address;
  }
  return std::nullopt;
}

uint16_t mtu_metric(const nlattr* metrics) {
  uint16_t mtu = 0;
  for_each_nested(metrics, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == RTAX_MTU) mtu = mtu_attribute(attribute);
  });
  return mtu;
}

}  // namespace

Resolver::Resolver(EventLoop& loop, EngineBase& engine, ConditionBoard& board, OnState on_state)
    : engine_(engine),
      board_(board),
      on_state_(std::move(on_state)),
      events_(kGroups),
      tunnel_errors_(board, engine.counters()),
      path_mtu_(
          loop, engine.counters(), [this] { store_all(); },
          [this](int family, std::span<const uint8_t> bytes, const Address& from) {
            hear_error(family, bytes, from);
          }) {
  loop.add(events_.fd(), [this] {
    if (!events_.receive([this](const nlmsghdr& message) { on_message(message); })) {
      if (const auto kept_out = lost_log_.pass(LogLimit::Clock::now()))  // a flood of neighbours can do it
        spdlog::warn(
            "netlink: events were lost; reading everything again ({} times more since the last line)",
            *kept_out);
      read_everything();
    }
  });
  loop.every(kTick, [this] { tick(); });
  engine_.on_egresses_changed([this] { routes_changed_ = true; });
  read_everything();
}

void Resolver::follow(const SnapshotView& snapshot) {
  // One that is known already is resolved already: changes of routes and neighbours are noticed by
  // themselves.
  std::map<uint32_t, Backend> next;
  for (const linimo_backend& backend : snapshot.backends()) {
    const Address address = Address::from_abi(backend.address);
    const auto known = backends_.find(backend.id);
    if (known != backends_.end() && known->second.address == address) {
      next.insert(backends_.extract(known));
    } else {
      store(backend.id, next[backend.id] = Backend{address, route_to(address)});
    }
  }
  for (const auto& [id, gone] : backends_) {
    if (next.contains(id)) continue;  // the number has gone to another address
    on_state_(id, std::nullopt);
    log_.forget(id);
  }
  backends_ = std::move(next);
  path_mtu_.follow(Tunnels(snapshot));
}

void Resolver::on_message(const nlmsghdr& message) {
  switch (message.nlmsg_type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      learn_neighbour(message);
      break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      routes_changed_ = true;
      break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      addresses_changed_ = routes_changed_ = true;
      break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
      links_.learn(message);
      routes_changed_ = true;
      break;
    default:
      break;
  }
}

void Resolver::read_everything() {
  const auto learn = [this](const nlmsghdr& message) { on_message(message); };
  requests_.dump(RTM_GETLINK, AF_UNSPEC, sizeof(ifinfomsg), learn);
  requests_.dump(RTM_GETNEIGH, AF_UNSPEC, sizeof(ndmsg), learn);
  routes_changed_ = addresses_changed_ = true;
  tick();
}

void Resolver::tick() {
  if (std::exchange(addresses_changed_, false)) read_host_addresses();
  if (std::exchange(routes_changed_, false)) look_up_routes();
  log_.flush(NextHopLog::Clock::now());
  tunnel_errors_.look(TunnelErrors::Time::clock::now());
  if (++ticks_ % kTicksBetweenReminders == 0) {
    for (const auto& [neighbour, by_kernel] : std::map(managed_)) {
      if (!by_kernel) manage(neighbour);
    }
    note_neighbour_table();
  }
}

void Resolver::look_up_routes() {
  for (auto& [id, backend] : backends_) backend.route = route_to(backend.address);
  store_all();
}

std::optional<Resolver::Route> Resolver::route_to(const Address& address) {
  RouteRequest request{};
  nlmsghdr* header = mnl_nlmsg_put_header(&request);
  header->nlmsg_type = RTM_GETROUTE;
  header->nlmsg_flags = NLM_F_REQUEST;
  auto* fixed = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  const uint8_t family = address.is_v4() ? AF_INET : AF_INET6;
  fixed->rtm_family = family;
  fixed->rtm_dst_len = static_cast<uint8_t>(family_size(address) * 8);
  mnl_attr_put(header, RTA_DST, family_size(address), family_bytes(address));

  std::optional<Route> route;
  requests_.ask({reinterpret_cast<uint8_t*>(&request), header->nlmsg_len}, [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWROUTE) return;
    const auto* reply = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&answer));
    if (reply->rtm_type != RTN_UNICAST && reply->rtm_type != RTN_LOCAL) return;
    route = Route{.device = 0, .gateway = address, .mtu = 0};
    for_each_attribute(answer, sizeof *reply, [&](const nlattr* attribute) {
      switch (mnl_attr_get_type(attribute)) {
        case RTA_OIF:
          route->device = static_cast<int>(mnl_attr_get_u32(attribute));
          break;
        case RTA_GATEWAY:
          route->gateway = address_in(attribute, family).value_or(address);
          break;
        case RTA_VIA: {  // an IPv6 gateway of an IPv4 route (RFC 5549)
          const auto* via = static_cast<const rtvia*>(mnl_attr_get_payload(attribute));
          if (via->rtvia_family == AF_INET6 && mnl_attr_get_payload_len(attribute) >= sizeof(rtvia) + 16) {
            std::memcpy(route->gateway.bytes.data(), via->rtvia_addr, 16);
          }
          break;
        }
        case RTA_METRICS:
          route->mtu = mtu_metric(attribute);
          break;
        default:
          break;
      }
    });
  });
  return route;
}

NextHop Resolver::next_hop(const Backend& backend) {
  NextHop hop;
  if (!backend.route) return hop;
  const int device = backend.route->device;
  const auto egresses = engine_.egresses();
  std::vector<int> own;
  for (const Egress& egress : egresses) own.push_back(egress.device_index);
  const auto way = links_.way_from(device, own);
  const auto egress = std::ranges::find_if(
      egresses, [&](const Egress& candidate) { return way && candidate.device_index == way->device; });
  if (egress == egresses.end()) {
    hop.state = NextHop::kWrongEgress;
    return hop;
  }
  hop.port = egress->port;
  hop.tags = way->tags;
  hop.mtu = std::min(backend.route->mtu != 0 ? backend.route->mtu : links_.mtu(device),
                     path_mtu_.mtu(backend.address).value_or(0xffff));
  const NeighbourKey key{device, backend.route->gateway};
  const auto neighbour = neighbours_.find(key);
  hop.state = neighbour == neighbours_.end() ? NextHop::kUnresolved : NextHop::kResolved;
  if (neighbour != neighbours_.end()) hop.mac = neighbour->second;
  if (!managed_.contains(key)) manage(key);
  return hop;
}

void Resolver::store(uint32_t id, const Backend& backend) {
  const NextHop hop = next_hop(backend);
  engine_.next_hops().store(id, hop);
  on_state_(id, static_cast<linimo_next_hop_state>(hop.state));
  log_.note(id, backend.address, hop.state);
}

void Resolver::store_all() {
  for (const auto& [id, backend] : backends_) store(id, backend);
}

void Resolver::learn_neighbour(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < sizeof(ndmsg)) return;
  const auto* fixed = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(&message));
  std::optional<Address> address;
  std::optional<Mac> mac;
  for_each_attribute(message, sizeof *fixed, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == NDA_DST) address = address_in(attribute, fixed->ndm_family);
    if (mnl_attr_get_type(attribute) == NDA_LLADDR && mnl_attr_get_payload_len(attribute) == 6) {
      std::memcpy(mac.emplace().data(), mnl_attr_get_payload(attribute), 6);
    }
  });
  if (!address) return;
  const NeighbourKey key{fixed->ndm_ifindex, *address};
  if (message.nlmsg_type == RTM_DELNEIGH) {
    if (managed_.erase(key) != 0) {
      manage(key);  // somebody flushed it: ask again
    } else {
      neighbours_.erase(key);  // no backend's: the kernel's own limit then bounds what is remembered here
    }
    return;
  }
  constexpr uint16_t kUsable = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;
  if (!mac || (fixed->ndm_state & kUsable) == 0) return;  // the last known address serves on
  if (const auto known = neighbours_.find(key); known != neighbours_.end() && known->second == *mac) return;
  neighbours_[key] = *mac;
  for (const auto& [id, backend] : backends_) {
    if (backend.route && NeighbourKey{backend.route->device, backend.route->gateway} == key)
      store(id, backend);
  }
}

void Resolver::manage(const NeighbourKey& neighbour) {
  const int device = neighbour.first;
  const Address& address = neighbour.second;
  const auto ask = [&](bool managed) {
    uint8_t buffer[128] = {};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer);
    header->nlmsg_type = RTM_NEWNEIGH;
    header->nlmsg_flags = NLM_F_CREATE;
    auto* fixed = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ndmsg)));
    fixed->ndm_family = address.is_v4() ? AF_INET : AF_INET6;
    fixed->ndm_ifindex = device;
    fixed->ndm_flags = managed ? 0 : NTF_USE;
    mnl_attr_put(header, NDA_DST, family_size(address), family_bytes(address));
    if (managed) mnl_attr_put_u32(header, NDA_FLAGS_EXT, NTF_EXT_MANAGED);
    return requests_.request({buffer, header->nlmsg_len});
  };
  const bool by_kernel = ask(true) == 0;
  const int error = by_kernel ? 0 : ask(false);
  managed_[neighbour] = by_kernel;
  if (error == -ENOBUFS || error == -ENOMEM)
    without_room_.insert(neighbour);
  else
    without_room_.erase(neighbour);
}

/// The kernel keeps no more neighbours than gc_thresh3 says, of each family; one more is refused.
void Resolver::note_neighbour_table() {
  std::erase_if(without_room_, [this](const NeighbourKey& key) { return !managed_.contains(key); });
  if (without_room_.empty()) return board_.set("neighbour-table", "", ConditionState::kHolds);
  const bool v4 = without_room_.begin()->second.is_v4();
  board_.set("neighbour-table", "", ConditionState::kFails,
             fmt::format("the kernel's neighbour table is full: {} next hop(s) cannot be resolved",
                         without_room_.size()),
             fmt::format("sysctl net.ipv{}.neigh.default.gc_thresh3={}", v4 ? 4 : 6,
                         std::bit_ceil(2 * managed_.size() + 1024)));
}

void Resolver::hear_error(int family, std::span<const uint8_t> bytes, const Address& from) {
  const auto heard = family == AF_INET ? tunnel_error4(bytes) : tunnel_error6(bytes, from);
  if (heard && path_mtu_.may_be_meant(heard->tunnel))
    tunnel_errors_.hear(*heard, TunnelErrors::Time::clock::now());
}

std::optional<Resolver::Route> Resolver::route_of(uint32_t backend_id) const {
  const auto found = backends_.find(backend_id);
  return found == backends_.end() ? std::nullopt : found->second.route;
}

void Resolver::read_host_addresses() {
  std::vector<Address> addresses;
  requests_.dump(RTM_GETADDR, AF_UNSPEC, sizeof(ifaddrmsg), [&](const nlmsghdr& message) {
    const auto* fixed = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
    std::optional<Address> address;
    std::optional<Address> local;  // differs from the address on a point-to-point link
    for_each_attribute(message, sizeof *fixed, [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == IFA_ADDRESS) address = address_in(attribute, fixed->ifa_family);
      if (mnl_attr_get_type(attribute) == IFA_LOCAL) local = address_in(attribute, fixed->ifa_family);
    });
    if (local || address) addresses.push_back(local ? *local : *address);
  });
  std::sort(addresses.begin(), addresses.end());
  engine_.set_host_addresses(std::move(addresses));
}

}  // namespace linimo
