// Words about flows (maglev/rules/sharing.h) over the socket between the two planes.
#pragma once

#include <span>

#include "maglev/abi.h"

namespace linimo {

/// In as many messages as it takes, while there is room to spare (seqpacket.h); what finds none is lost, and
/// told again by the flow's later packets. Any thread that may write to the socket.
void send_flow_words(int socket, std::span<const linimo_flow_word> words);

}  // namespace linimo
