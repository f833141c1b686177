// Echo requests (RFC 792, RFC 4443) turned into their replies where they lie.
#pragma once

#include "dataplane/packet/parse.h"

namespace linimo::packet {

/// Is this ICMP message an echo request that can be answered? What came by a source route has to go back by
/// it (RFC 1122, 3.2.1.8), which is not done here. `flow` is what `judge` said of the frame.
bool is_echo_request(const Frame& frame, const Flow& flow);

/// Swaps the link and the IP addresses; TTL 64; ICMP's checksum is updated (RFC 1624), so that one that was
/// wrong stays so. `bytes` is the start of the frame that `frame` lies in.
void make_echo_reply(uint8_t* bytes, const Frame& frame, const Flow& flow);

}  // namespace linimo::packet
