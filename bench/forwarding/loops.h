// What stands in the worker's place to learn what all but forwarding costs.
#pragma once

#include <atomic>

#include "dataplane/dpdk/eal.h"

namespace linimo::bench {

/// The least that a forwarder does, and what DPDK's testpmd does as `macswap`. For each packet it computes
/// `steps` besides, each of which waits for the one before and asks for no memory.
void swap_macs(dpdk::Lane lane, const std::atomic<bool>& running, uint64_t steps);

/// Sends what came without a look at it: the time is the supply's own.
void send_back(dpdk::Lane lane, const std::atomic<bool>& running);

/// Reads each frame, frees its mbuf.
void drop_all(dpdk::Lane lane, const std::atomic<bool>& running);

}  // namespace linimo::bench
