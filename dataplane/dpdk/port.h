// A DPDK port, configured and started.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/egress/next_hop.h"

struct rte_mempool;

namespace linimo::dpdk {

struct PortFacts {
  Mac mac{};
  uint16_t mtu = 1500;
};

/// Configures `queues` receive and transmit queues, each receive queue with a pool of its own, and RSS over
/// them by that key, which for one queue may be empty. `mtu` 0: the device's. The buffers are made for it.
/// Does not start it.
tl::expected<PortFacts, std::string> configure_port(uint16_t port_id, uint16_t queues, uint16_t mtu,
                                                    std::span<const uint8_t> rss_key);

tl::expected<void, std::string> start_port(uint16_t port_id);

/// Also while it runs. Nothing happens where it has that MTU. The error says what to do for one that its
/// buffers or the device do not take; a device without an MTU of its own takes any.
tl::expected<void, std::string> set_port_mtu(uint16_t port_id, uint16_t mtu);

/// Of the hash and the key by which it spreads packets over its queues; 0: it does not say.
uint64_t rss_digest(uint16_t port_id);

/// Stops and closes; the packets still in its queues are lost.
void close_port(uint16_t port_id);

/// A NIC may take seconds until it has a link again. False: it has none after that time.
bool wait_for_link(uint16_t port_id, std::chrono::milliseconds limit);

/// The pool of a port's first queue.
rte_mempool* pool_of(uint16_t port_id);

/// What the buffers of a queue take. `mtu`: 0 is the usual one.
uint64_t bytes_of_pool(uint16_t mtu, bool af_xdp);

/// Of one of its buffers, bytes.
uint32_t room_for_frames(uint16_t port_id);

}  // namespace linimo::dpdk
