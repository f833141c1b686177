// Frames that the program has encapsulated and found longer than their way takes, cut by the code that the
// DPDK engine uses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bpf/layout.h"

namespace linimo::xdp {

/// The frames to send, in order; none: the way takes no fragments that are of use. `frame`: from its link
/// header on. `identification`: as of packet::OuterFragments.
std::vector<std::vector<uint8_t>> cut_frame(const linimo_xdp_handed& handed, std::span<const uint8_t> frame,
                                            uint32_t identification);

}  // namespace linimo::xdp
