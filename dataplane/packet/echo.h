// Echo requests (RFC 792, RFC 4443) turned into their replies where they lie.
#pragma once

#include "dataplane/packet/parse.h"

namespace linimo::packet {

/// Is this ICMP message an echo request that can be answered? `flow` is what `judge` said of the frame.
bool is_echo_request(const Frame& frame, const Flow& flow);

/// Swaps the link and the IP addresses; the TTL is its own; ICMP's checksum is updated (RFC 1624), so that
/// one that was wrong stays so. `bytes` is the start of the frame that `frame` lies in.
void make_echo_reply(uint8_t* bytes, const Frame& frame, const Flow& flow);

}  // namespace linimo::packet
