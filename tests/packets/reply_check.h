// Is a frame that Linimo made itself a sound answer to the frame that came in? For frames that no case
// foresaw.
#pragma once

#include <string>

#include "tests/packets/engine.h"

namespace linimo::tests {

/// Does it go back to the IP address that the frame came from?
bool is_reply(ByteView frame_in, const Left& sent);

/// Empty, or what is wrong. An answer is an echo reply, an ICMP error or a TCP reset. `port_mac`: of the port
/// that the frame came in by.
std::string fault_of_reply(ByteView frame_in, const Left& sent, const Mac& port_mac);

}  // namespace linimo::tests
