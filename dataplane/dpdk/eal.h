// DPDK's environment: cores, memory, and the ports that the configuration names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/config/node.h"

namespace linimo::dpdk {

/// A receive and transmit queue pair that belongs to one worker.
struct Lane {
  uint16_t port_id = 0;  // DPDK's
  uint16_t queue = 0;
};

/// A device of DPDK's before it is there.
struct PortPlan {
  std::string bus, device, options;
  uint16_t queues;
};

/// One of `[node] interfaces`, as DPDK sees it.
struct Interface {
  std::string name;    // as configured
  std::string netdev;  // the kernel's device, or empty where DPDK has the hardware to itself
  PortPlan plan;
  std::vector<Lane> lanes;  // a multiple of them per worker
};

struct Eal {
  std::vector<Interface> interfaces;
  std::vector<unsigned> worker_lcores;
  bool hugepages = false;
};

/// Starts DPDK, without any port: so a process that is to take over can do it while the one before has the
/// ports. `reserves`: with the memory that its ports will take, which may be slow to get. Once per process.
/// The error says what to do.
tl::expected<Eal, std::string> start_eal(const NodeConfig& config, bool reserves);

/// Takes the configured ports, and knows their lanes from then on. The error says what to do.
tl::expected<void, std::string> add_ports(Eal& eal);

/// Gives the ports back to whoever wants them next. They were closed before.
void remove_ports(const std::vector<Interface>& interfaces);

/// The CPUs on which this process may run.
std::vector<unsigned> allowed_cpus();

/// The ports of a netdev's other queues, once that of the first is configured: drivers may receive on more
/// queues as soon as a program is on them (virtio_net). All are taken, whatever the number of workers: what
/// the NIC puts on a queue that nobody reads would be lost.
tl::expected<void, std::string> take_other_queues(Interface& interface);

}  // namespace linimo::dpdk
