// What can a device's driver do of XDP itself?
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/netdev.h"

namespace linimo::xdp {

/// Tries it with a program that passes every packet, for a moment; where a program is attached already, there
/// is no doubt. Any thread.
bool takes_native_xdp(int device_index);

/// Why a program that sends must not be run by this device's driver on a machine of so many CPUs, and what to
/// do; empty where it may. Of a device without a program.
std::string danger_of_native_xdp(const std::string& name, const NetdevFacts& facts, uint32_t cpus);

/// Does it send frames that lie in several buffers and came in by another device? Only Linux from 6.3 says
/// so; before that none does. Any thread.
bool sends_several_buffers(int device_index);

}  // namespace linimo::xdp
