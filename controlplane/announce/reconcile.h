// What the kernel's table has of our routes becomes what is wanted.
//
//   KernelRoutes kernel;
//   const Reconciled done = reconcile(kernel, 77, wanted, true);
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "maglev/os/kernel_routes.h"

namespace linimo {

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
