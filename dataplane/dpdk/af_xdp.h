// What DPDK's driver for AF_XDP leaves to others when a queue goes from one process to the next.
#pragma once

#include <chrono>
#include <cstdint>

namespace linimo::dpdk {

/// Closes this process's sockets of that kind, once their ports are closed: the driver unmaps their rings,
/// but leaves the descriptors open, and with them the kernel's queues in use.
void close_af_xdp_sockets();

/// Waits until the kernel has freed a queue that another process has closed: it does that a moment later, and
/// the driver's queue is beyond repair once its socket was refused. False: it is in use after that time.
bool wait_for_free_queue(int device, uint32_t queue, std::chrono::milliseconds limit);

}  // namespace linimo::dpdk
