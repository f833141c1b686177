#include "controlplane/announce/reconcile.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace linimo {

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
