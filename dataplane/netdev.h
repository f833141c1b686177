// What the kernel knows of a network device.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/egress/next_hop.h"
#include "maglev/os/netlink.h"
#include "maglev/unique_fd.h"

namespace linimo {

struct NetdevFacts {
  int index = 0;
  Mac mac{};
  uint16_t mtu = 0;
  uint32_t queues = 1;       // for receiving, now
  uint32_t most_queues = 1;  // that the driver could have; 0: it does not say how many there are
  bool up = false;           // as the administrator has it
  bool carrier = false;      // up, and frames can go out
  std::string driver;        // "veth", "ixgbe", ...
  std::string bus;           // where the device is, such as a PCI address; empty for what is only software
};

/// As it is now; the error says that there is none. Any thread.
tl::expected<NetdevFacts, std::string> netdev_facts(const std::string& name);

/// The bridge, bond or the like that the device is part of, and that gets its frames; empty: none.
std::string master_of(Netlink& netlink, int index);

/// Leaves the tags of VLANs in received frames, where the packet path looks for them: drivers like to take
/// them out (`ethtool -K DEV rxvlan off`). False if this one does not let be. Any thread.
bool keep_vlan_tags(const std::string& name);

/// Has the device receive what its NIC would filter out, for as long as the descriptor is open: multicast of
/// groups that no address of its own is in (neighbour discovery of IPv6), VLANs that no device of its own
/// stands for. Any thread.
tl::expected<UniqueFd, std::string> receive_everything(int index);

struct NetdevStatistic {
  std::string name;  // the driver's own
  uint64_t value = 0;
};

/// What the driver counts (`ethtool -S`); empty where it counts nothing. Any thread.
std::vector<NetdevStatistic> netdev_statistics(const std::string& name);

/// Frames that a driver lost after an XDP program had sent them (XDP_TX) or redirected them. Drivers have no
/// common name for that: all that speak of XDP, of a way out and of a failure are added up.
uint64_t xdp_transmit_losses(std::span<const NetdevStatistic> statistics);

}  // namespace linimo
