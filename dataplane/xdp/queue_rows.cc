#include "dataplane/xdp/queue_rows.h"

#include <algorithm>
#include <numeric>

namespace linimo::xdp {

std::vector<uint32_t> plan_rows(std::span<const QueueCount> interfaces, uint32_t cpus, uint32_t room) {
  std::vector<uint32_t> rows;
  for (const QueueCount& queues : interfaces)
    rows.push_back(std::max({queues.now, std::min(queues.most, 2 * cpus), 1U}));
  for (uint32_t sum = std::accumulate(rows.begin(), rows.end(), 0U); sum > room && !rows.empty(); --sum)
    --*std::max_element(rows.begin(), rows.end());
  return rows;
}

}  // namespace linimo::xdp
