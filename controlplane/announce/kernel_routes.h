// Our routes in the kernel: those of protocol 77 in one table, and no others (rtnetlink(7)).
//
//   KernelRoutes kernel;
//   const Reconciled done = reconcile(kernel, 77, wanted, true);
//
// Synchronous: the kernel answers such a request within microseconds.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <libmnl/libmnl.h>
#include <tl/expected.hpp>

#include "maglev/address.h"

namespace linimo {

/// Of one VIP, straight out of a device.
struct VipRoute {
  Prefix vip;
  uint32_t metric = 0;
  uint32_t device = 0;  // interface index
  bool dead =
      false;  // as the kernel sees it, since its device is down or has no carrier; it tells no two apart

  std::strong_ordering operator<=>(const VipRoute& other) const {
    return std::tie(vip, metric, device) <=> std::tie(other.vip, other.metric, other.device);
  }
  bool operator==(const VipRoute& other) const { return (*this <=> other) == 0; }
};

class KernelRoutes {
 public:
  /// Of the calling thread's network namespace. Throws std::system_error.
  KernelRoutes();

  /// Every route of protocol 77 in the table, whoever added it; the error is a positive errno.
  tl::expected<std::set<VipRoute>, int> read(uint32_t table);

  /// 0 or a positive errno: EEXIST where another's route has the place. Removing touches ours alone.
  int add(uint32_t table, const VipRoute& route);
  int remove(uint32_t table, const VipRoute& route);

 private:
  using Visit = std::function<void(const nlmsghdr&)>;
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  int change(uint16_t type, uint16_t flags, uint32_t table, const VipRoute& route);
  int transact(nlmsghdr& message, const Visit& visit);

  std::unique_ptr<mnl_socket, Close> socket_;
  uint32_t sequence_ = 0;
};

struct Reconciled {
  std::set<VipRoute> present;  // now
  std::vector<VipRoute> added;
  std::vector<VipRoute> removed;
  std::string failure;  // the first; empty: none
};

/// Makes the table's routes of ours those that are wanted. What is missing comes before what is too much
/// goes, so that a VIP whose metric changes is never without a route. `may_add`: or VIPs without any route
/// get none.
Reconciled reconcile(KernelRoutes& kernel, uint32_t table, const std::set<VipRoute>& wanted, bool may_add);

}  // namespace linimo
