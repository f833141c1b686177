// Can a device's driver run XDP programs itself?
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

}  // namespace linimo::xdp
