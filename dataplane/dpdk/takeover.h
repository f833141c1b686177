// Moving a netdev's addresses and routes to the TAP that stands for it, and back.
//
// While DPDK holds the netdev the kernel sees none of its traffic, so the host's own addresses must live on
// the TAP. What is moved is kept as the kernel's own netlink messages with only the device changed: every
// attribute (metric, preferred source, lifetime, table) comes along, known to this code or not.
#pragma once

#include <string>
#include <vector>

#include "maglev/os/netlink.h"

namespace linimo::dpdk {

struct DeviceState {
  int index = 0;  // the netdev's
  std::string name;
  std::string tap;                        // the TAP that stands for it
  std::vector<NetlinkMessage> addresses;  // RTM_NEWADDR
  std::vector<NetlinkMessage> routes;     // RTM_NEWROUTE, without those that the kernel makes itself
};

/// Reads what the device has now; changes nothing.
DeviceState read_device(Netlink& netlink, const std::string& name, int index);

/// Does the device have addresses that a program gave it, not the kernel (link-local ones)?
bool has_addresses(Netlink& netlink, int index);

/// Puts addresses and routes on the TAP and then takes them off the device, so that the host always has them:
/// routes of other devices that prefer such an address stay, and so do sockets; and whoever listens to the
/// kernel hears of it in that order. Returns what could not be moved, in words.
std::vector<std::string> move_to(Netlink& netlink, const DeviceState& state, int tap_index);

/// Gives the device back what it had. One that has its place now, and its name, gets what it has not got from
/// somebody else: no addresses if it has some, no route where there is one.
std::vector<std::string> give_back(Netlink& netlink, const DeviceState& state, int index);

/// For the guardian's journal.
std::vector<uint8_t> serialize(const std::vector<DeviceState>& states);
std::vector<DeviceState> deserialize(std::span<const uint8_t> bytes);

}  // namespace linimo::dpdk
