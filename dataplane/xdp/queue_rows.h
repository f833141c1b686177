// How many rows of the maps each interface gets: one for each receive queue that there is, and some in
// reserve.
//
// Queues come while the program runs: `ethtool -L`, and drivers that raise their number when XDP is attached
// (virtio_net). A row takes about 10 MB of kernel memory whether its queue exists or not, and queues beyond
// the rows share the spare one, so the reserve has a bound: what the driver could have, and twice the CPUs.
//
// Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace linimo::xdp {

struct QueueCount {
  uint32_t now = 1;
  uint32_t most = 1;  // that the driver could have; 0: it does not say
};

/// Rows of each interface, all together at most `room`, which is at least the number of interfaces. Each gets
/// at least one; where there is not room for all, those with the most go short.
std::vector<uint32_t> plan_rows(std::span<const QueueCount> interfaces, uint32_t cpus, uint32_t room);

}  // namespace linimo::xdp
