#include "dataplane/dpdk/port_watch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <spdlog/spdlog.h>

#include "dataplane/dpdk/device_kind.h"
#include "dataplane/dpdk/port.h"
#include "dataplane/dpdk/takeover.h"
#include "dataplane/netdev.h"
#include "maglev/os/device_socket.h"

namespace linimo::dpdk {
namespace {

constexpr auto kPeriod = std::chrono::seconds(1);
constexpr auto kFirstAddress = std::chrono::seconds(10);  // a new device that has none by then gets none
constexpr auto kRoutes = std::chrono::seconds(1);         // after its addresses, by whoever configures it
constexpr const char* kRestart = "systemctl restart linimo-dataplane";

FrameCounts counts_of(const Interface& interface) {
  FrameCounts sum{.receive_lost = 0};
  for (const Lane& lane : interface.lanes) {
    rte_eth_stats stats{};
    if (lane.queue != 0 || rte_eth_stats_get(lane.port_id, &stats) != 0) continue;  // each port once
    sum.sent += stats.opackets;
    sum.transmit_lost += stats.oerrors;
    *sum.receive_lost += stats.imissed + stats.ierrors + stats.rx_nombuf;
  }
  return sum;
}

}  // namespace

PortWatch::PortWatch(EventLoop& loop, ConditionBoard& board, CountersBlock& counters,
                     const std::vector<Interface>& interfaces, const std::vector<NetdevFacts>& netdevs,
                     PortMacs& macs, KernelPath& kernel)
    : loop_(loop), board_(board), macs_(macs), kernel_(kernel) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < interfaces.size(); ++i) {
    const uint64_t word = macs.load(i);
    Mac mac;
    std::memcpy(mac.data(), &word, mac.size());
    watched_.push_back({interfaces[i], netdevs[i].index, mac, netdevs[i].mtu,
                        LossWatch(board, counters, interfaces[i].name)});
    if (interfaces[i].netdev.empty()) continue;
    netdevs_.push_back(i);
    names.push_back(interfaces[i].netdev);
  }
  devices_ = std::make_unique<DeviceWatch>(loop, names, board, kRestart,
                                           [this](size_t which, const NetdevFacts* now) {
                                             const uint32_t number = netdevs_[which];
                                             return look_at_netdev(watched_[number], number, now);
                                           });
  const auto look = [this] {
    for (uint32_t i = 0; i < watched_.size(); ++i) {
      if (watched_[i].netdev_index == 0) {
        look_at_port(watched_[i], i);
        look_at_mtu(watched_[i], i);
        look_at_mac(watched_[i], i);
      } else {
        look_at_others(watched_[i]);
      }
      look_at_addresses(watched_[i], i);
      watched_[i].losses.look(counts_of(watched_[i].interface));
    }
  };
  devices_->look();
  look();
  loop.every(kPeriod, look);
}

/// AF_XDP sockets belong to a device, not to its name: they do not move to another of that name.
std::string PortWatch::look_at_netdev(Watched& watched, uint32_t number, const NetdevFacts* now) {
  const bool same = now != nullptr && now->index == watched.netdev_index;
  set_carrier(watched, number, same && now->carrier);
  if (same) {
    if (now->mac != watched.mac) follow_mac(watched, number, now->mac);
    follow_mtu(watched, number, now->mtu);
    look_at_queues(watched, now->queues);
  }
  if (now == nullptr || same) return {};
  std::string what = fmt::format("{} was made anew; DPDK has the one before", watched.interface.netdev);
  if (is_ready(watched, *now) && is_alone(watched)) {
    outdated_ = what;
    loop_.stop();
  }
  return what;
}

bool PortWatch::is_ready(Watched& watched, const NetdevFacts& now) {
  if (std::exchange(watched.newcomer, now.index) != now.index || !now.up) {
    watched.up.reset();
    watched.addressed.reset();
  }
  if (!now.up) return false;
  const auto time = Clock::now();
  if (!watched.up) watched.up = time;
  if (!watched.addressed && has_addresses(netlink_, now.index)) watched.addressed = time;
  return watched.addressed ? time - *watched.addressed >= kRoutes : time - *watched.up >= kFirstAddress;
}

bool PortWatch::is_alone(const Watched& watched) const {
  return std::none_of(watched_.begin(), watched_.end(),
                      [&](const Watched& other) { return &other != &watched && other.carrier; });
}

void PortWatch::look_at_port(Watched& watched, uint32_t number) {
  using enum ConditionState;
  const std::string& name = watched.interface.name;
  rte_eth_link link{};
  const uint16_t port = watched.interface.lanes.front().port_id;
  if (rte_eth_dev_is_valid_port(port) == 0) {
    board_.set("interface-present", name, kFails, "the device was removed", kRestart);
    return set_carrier(watched, number, false);
  }
  board_.set("interface-present", name, kHolds);
  if (rte_eth_link_get_nowait(port, &link) != 0)
    return board_.set("carrier", name, kUnknown, "the driver does not say");
  const bool carrier = link.link_status == RTE_ETH_LINK_UP;
  board_.set("carrier", name, carrier ? kHolds : kFails, carrier ? "" : "no link",
             carrier ? "" : "check the cable, or the port at its other end");
  set_carrier(watched, number, carrier);
}

/// Whoever gives the TAP another MTU means the wire.
void PortWatch::look_at_mtu(const Watched& watched, uint32_t number) {
  using enum ConditionState;
  const std::string& tap = kernel_.tap_name(number);
  const auto facts = netdev_facts(tap);
  if (!facts) return;  // shown as addresses-moved
  if (const auto set = set_port_mtu(watched.interface.lanes.front().port_id, facts->mtu); !set) {
    board_.set("mtu-followed", watched.interface.name, kFails, set.error(),
               fmt::format("give {} a smaller one, or set [node] mtu = {} and restart", tap, facts->mtu));
  } else {
    board_.set("mtu-followed", watched.interface.name, kHolds);
  }
}

/// Whoever gives the TAP another MAC address means the port: its NIC filters out what is for any other.
void PortWatch::look_at_mac(Watched& watched, uint32_t number) {
  const std::string& tap = kernel_.tap_name(number);
  const auto facts = netdev_facts(tap);
  if (!facts) return;  // shown as addresses-moved
  if (facts->mac == watched.mac) return watched.mac_failure.clear();
  rte_ether_addr address{};
  std::memcpy(address.addr_bytes, facts->mac.data(), facts->mac.size());
  const uint16_t port = watched.interface.lanes.front().port_id;
  if (const int error = rte_eth_dev_default_mac_addr_set(port, &address); error != 0) {
    watched.mac_failure =
        fmt::format("{} has a MAC address that the port does not take ({})", tap, rte_strerror(-error));
    return;
  }
  macs_.store(number, facts->mac);
  watched.mac = facts->mac;
  watched.mac_failure.clear();
  spdlog::info("{} has another MAC address, and so has {}", tap, watched.interface.name);
}

/// At the start that is refused.
void PortWatch::look_at_others(const Watched& watched) {
  const auto others = devices_that_need(netlink_, watched.netdev_index);
  board_.set(
      "stands-alone", watched.interface.name,
      others.empty() ? ConditionState::kHolds : ConditionState::kFails,
      others.empty() ? "" : fmt::format("{} gets no packets while DPDK has it", fmt::join(others, ", ")),
      others.empty() ? "" : "remove it (VLANs may be made anew on linimo0), or take engine \"xdp\"");
}

/// While DPDK has a netdev, an address on it answers nobody: some program that manages addresses (a DHCP
/// client) has not heard of the TAP.
void PortWatch::look_at_addresses(const Watched& watched, uint32_t number) {
  using enum ConditionState;
  const std::string& name = watched.interface.name;
  const std::string tap = kernel_.tap_name(number);
  if (static_cast<int>(device_index(tap)) != kernel_.tap_index(number)) {
    board_.set("addresses-moved", name, kFails, fmt::format("somebody deleted {}", tap), kRestart);
  } else if (watched.netdev_index != 0 && has_addresses(netlink_, watched.netdev_index)) {
    board_.set("addresses-moved", name, kFails,
               fmt::format("{} has addresses, which do not answer while DPDK has it", name),
               fmt::format("let whoever gives it addresses do so to {}", tap));
  } else if (!watched.mac_failure.empty()) {
    board_.set("addresses-moved", name, kFails, watched.mac_failure, kRestart);
  } else {
    board_.set("addresses-moved", name, kHolds);
  }
}

/// Frames come and go by the new one from now on: the kernel answers for it, and all that is sent has it.
void PortWatch::follow_mac(Watched& watched, uint32_t number, const Mac& mac) {
  const auto set = kernel_.set_mac(number, mac);
  watched.mac_failure = set ? "" : set.error();
  if (!set) return;  // tried again at the next look
  macs_.store(number, mac);
  watched.mac = mac;
  spdlog::info("{} has another MAC address, and so has {}", watched.interface.name, kernel_.tap_name(number));
}

/// What is routed by the TAP must fit the wire. Buffers are made at the start, so it may be too long for
/// them.
void PortWatch::follow_mtu(Watched& watched, uint32_t number, uint16_t mtu) {
  tl::expected<void, std::string> set;
  if (mtu != watched.mtu) {
    for (const Lane& lane : watched.interface.lanes) {
      if (set && lane.queue == 0) set = set_port_mtu(lane.port_id, mtu);
    }
    if (set) set = kernel_.set_mtu(number, mtu);
    if (set) watched.mtu = mtu;
  }
  board_.set("mtu-followed", watched.interface.name, set ? ConditionState::kHolds : ConditionState::kFails,
             set ? "" : set.error(), set ? "" : kRestart);
}

/// AF_XDP receives by the queues that were there at the start.
void PortWatch::look_at_queues(const Watched& watched, uint32_t now) {
  const size_t served = watched.interface.lanes.size();
  const bool all = now <= served;
  board_.set("queues-served", watched.interface.name, all ? ConditionState::kHolds : ConditionState::kFails,
             all ? "" : fmt::format("{} queues, of which DPDK serves {}", now, served), all ? "" : kRestart);
}

void PortWatch::set_carrier(Watched& watched, uint32_t number, bool carrier) {
  if (std::exchange(watched.carrier, carrier) != carrier) kernel_.set_carrier(number, carrier);
}

}  // namespace linimo::dpdk
