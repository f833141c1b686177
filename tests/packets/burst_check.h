// What must hold of every burst, whatever was in it: for frames that no case foresaw.
#pragma once

#include <string>

#include "tests/packets/dpdk_engine.h"

namespace linimo::tests {

/// Empty, or what is wrong: a frame not counted exactly once, a buffer lost, a frame to the kernel that was
/// changed, a tunnel that is not sound.
std::string fault_of_burst(std::span<const ByteView> frames, const BurstResult& result,
                           const Configuration& configuration);

}  // namespace linimo::tests
