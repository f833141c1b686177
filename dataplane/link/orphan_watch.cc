#include "dataplane/link/orphan_watch.h"

#include <spdlog/spdlog.h>

#include "maglev/config/duration.h"
#include "maglev/os/kernel_routes.h"

namespace linimo {

size_t remove_announcements(uint32_t table) {
  KernelRoutes kernel;
  size_t removed = 0;
  for (const VipRoute& route : kernel.read(table).value_or(std::set<VipRoute>()))
    removed += kernel.remove(table, route) == 0 ? 1 : 0;
  return removed;
}

void OrphanWatch::look() {
  // Between two looks a control plane may have come and gone: that is another absence.
  const auto since = gone_since_();
  if (since != absence_) withdrawn_ = false;
  absence_ = since;
  if (!since || withdrawn_) return;
  const Announcements announced = announced_();
  if (announced.table == 0 || announced.orphan_timeout.count() == 0) return;
  if (Clock::now() < *since + announced.orphan_timeout) return;
  withdrawn_ = true;
  const size_t routes = remove_announcements(announced.table);
  spdlog::warn("no control plane for {}: {} announced VIPs withdrawn",
               duration_text(announced.orphan_timeout), routes);
}

}  // namespace linimo
