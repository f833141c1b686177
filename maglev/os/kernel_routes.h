// Our routes in the kernel: those of protocol 77 in one table, and no others (rtnetlink(7)).
//
//   KernelRoutes kernel;
//   for (const VipRoute& route : kernel.read(77).value_or({})) kernel.remove(77, route);
//
// Synchronous: the kernel answers such a request within microseconds.
#pragma once

#include <compare>
#include <cstdint>
#include <set>
#include <tuple>

#include <tl/expected.hpp>

#include "maglev/address.h"
#include "maglev/os/netlink.h"

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
  int change(uint16_t type, uint16_t flags, uint32_t table, const VipRoute& route);

  Netlink netlink_;
};

}  // namespace linimo
