// The ports while they run: whether they still are there and have a link, and what their NIC loses. The TAP
// of an interface has a carrier while its port has one, so that the kernel knows too, and a netdev's MAC
// address and MTU, whichever it is given; without a netdev the port has the TAP's MTU.
//
// A netdev that was deleted and made again can only be had by starting anew: the port has the device before.
// That waits until whoever made it has given it addresses and routes, which move to the TAP at a start, and
// is left to the operator while another interface has a carrier: a start that fails would end that, too.
//
// Looks once a second, and at netdevs whenever the kernel reports a change of one. Keeps the conditions
// `interface-present`, `carrier`, `queues-served`, `mtu-followed`, `addresses-moved`, `transmit-works` and
// `receive-works`.
// Control thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/conditions.h"
#include "dataplane/device_watch.h"
#include "dataplane/dpdk/eal.h"
#include "dataplane/dpdk/kernel_path.h"
#include "dataplane/egress/port_macs.h"
#include "dataplane/event_loop.h"
#include "dataplane/loss_watch.h"
#include "maglev/os/netlink.h"

namespace linimo::dpdk {

class PortWatch {
 public:
  /// All must outlive the loop's run. `netdevs`: of interfaces that are netdevs, as they were taken; of
  /// others the index is 0.
  PortWatch(EventLoop& loop, ConditionBoard& board, CountersBlock& counters,
            const std::vector<Interface>& interfaces, const std::vector<NetdevFacts>& netdevs, PortMacs& macs,
            KernelPath& kernel);

  /// Which netdev is to be taken anew, in words, or empty. The loop is stopped when there is one.
  const std::string& outdated() const { return outdated_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Watched {
    const Interface& interface;
    int netdev_index;
    Mac mac;
    uint16_t mtu;
    LossWatch losses;
    bool carrier = true;
    std::string mac_failure{};                     // why netdev or port and the TAP have not the same
    int newcomer = 0;                              // another device of this name, and
    std::optional<Clock::time_point> up{};         // when it was first seen to be up
    std::optional<Clock::time_point> addressed{};  // and to have addresses
  };

  std::string look_at_netdev(Watched& watched, uint32_t number, const NetdevFacts* now);
  bool is_ready(Watched& watched, const NetdevFacts& now);
  bool is_alone(const Watched& watched) const;
  void look_at_port(Watched& watched, uint32_t number);
  void look_at_mtu(const Watched& watched, uint32_t number);
  void look_at_mac(Watched& watched, uint32_t number);
  void look_at_others(const Watched& watched);
  void look_at_addresses(const Watched& watched, uint32_t number);
  void follow_mac(Watched& watched, uint32_t number, const Mac& mac);
  void follow_mtu(Watched& watched, uint32_t number, uint16_t mtu);
  void look_at_queues(const Watched& watched, uint32_t now);
  void set_carrier(Watched& watched, uint32_t number, bool carrier);

  EventLoop& loop_;
  ConditionBoard& board_;
  PortMacs& macs_;
  KernelPath& kernel_;
  Netlink netlink_;
  std::vector<Watched> watched_;
  std::vector<uint32_t> netdevs_;  // numbers of interfaces
  std::unique_ptr<DeviceWatch> devices_;
  std::string outdated_;
};

}  // namespace linimo::dpdk
