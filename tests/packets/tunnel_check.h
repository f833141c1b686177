// Is a frame that was sent a sound tunnel around the packet that came in? For frames that no case foresaw: it
// knows by itself what the outer headers must be, and reads bytes by itself, with no help from the code under
// test.
#pragma once

#include <string>

#include "tests/packets/engine.h"

namespace linimo::tests {

/// Empty, or what is wrong. `sent.way` is kSent.
std::string fault_of_tunnel(ByteView frame_in, const Left& sent, const Configuration& configuration);

}  // namespace linimo::tests
