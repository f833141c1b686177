// The exception path's TAP device: how the kernel goes on receiving what is not for a VIP.
#pragma once

#include <cstdint>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/egress/next_hop.h"
#include "maglev/unique_fd.h"

namespace linimo::dpdk {

struct Tap {
  std::string name;
  int index = 0;  // the kernel's
  UniqueFd fd;    // frames, one a read or write; non-blocking
};

/// Creates the device and sets it up. Not persistent: it goes when the descriptor is closed, by a crash too,
/// and every route through it goes with it. `addresses_move_here`: the kernel gives it no link-local address,
/// since it will get that of the device it stands for.
tl::expected<Tap, std::string> create_tap(const std::string& name, const Mac& mac, uint16_t mtu,
                                          bool addresses_move_here);

/// The device of that name, by the descriptor that the process before had: with all that is on it.
tl::expected<Tap, std::string> adopt_tap(const std::string& name, UniqueFd fd);

/// What the kernel takes for the state of the wire. Routes by a TAP that has lost its carrier are dead at
/// once (before Linux 6.8: within a second). Any thread.
void set_carrier(const Tap& tap, bool carrier);

}  // namespace linimo::dpdk
