// Next hops: for each backend the device, the MAC address and the MTU, out of the kernel's own routing and
// neighbour tables, kept up to date as they change. Runs on the control thread.
//
// The kernel sees none of the forwarded traffic that would make it keep a neighbour resolved, so each next
// hop is registered with it as managed (NTF_MANAGED, Linux 5.16). A next hop that falls silent keeps its last
// known MAC address: the backend's health check, not ARP, says whether it is alive.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/conditions.h"
#include "dataplane/engine.h"
#include "dataplane/event_loop.h"
#include "dataplane/link/log_limit.h"
#include "dataplane/nexthop/links.h"
#include "dataplane/nexthop/next_hop_log.h"
#include "dataplane/nexthop/path_mtu.h"
#include "dataplane/nexthop/tunnel_errors.h"
#include "maglev/os/netlink.h"

namespace linimo {

class Resolver {
 public:
  /// Told of each change: how the way to a backend stands; nothing: it is no longer followed.
  using OnState = std::function<void(uint32_t backend_id, std::optional<linimo_next_hop_state>)>;

  Resolver(EventLoop& loop, EngineBase& engine, ConditionBoard& board, OnState on_state);

  /// The backends to resolve from now on: those of the live snapshot.
  void follow(const SnapshotView& snapshot);

  struct Route {
    int device = 0;
    Address gateway;   // or the destination itself
    uint16_t mtu = 0;  // 0: the device's
  };
  /// The kernel's, to a backend that is followed; nothing: there is none.
  std::optional<Route> route_of(uint32_t backend_id) const;

 private:
  struct Backend {
    Address address;
    std::optional<Route> route;
  };
  using NeighbourKey = std::pair<int, Address>;

  void on_message(const nlmsghdr& message);
  void read_everything();
  void tick();
  std::optional<Route> route_to(const Address& address);
  void look_up_routes();
  NextHop next_hop(const Backend& backend);
  void store(uint32_t id, const Backend& backend);
  void store_all();
  void learn_neighbour(const nlmsghdr& message);
  void manage(const NeighbourKey& neighbour);
  void note_neighbour_table();
  void read_host_addresses();
  void hear_error(int family, std::span<const uint8_t> bytes, const Address& from);

  EngineBase& engine_;
  ConditionBoard& board_;
  OnState on_state_;
  Netlink events_;
  Netlink requests_;
  std::map<uint32_t, Backend> backends_;    // by id
  std::map<NeighbourKey, Mac> neighbours_;  // last known
  std::map<NeighbourKey, bool> managed_;    // by the kernel, or it is reminded of them
  std::set<NeighbourKey> without_room_;     // of these: the kernel's table is full
  Links links_;
  TunnelErrors tunnel_errors_;
  PathMtu path_mtu_;
  NextHopLog log_;
  LogLimit lost_log_;
  bool routes_changed_ = false;
  bool addresses_changed_ = false;
  uint32_t ticks_ = 0;
};

}  // namespace linimo
