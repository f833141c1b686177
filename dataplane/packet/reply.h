// Replies that Linimo makes itself about a packet to a VIP: ICMP errors (RFC 792, 1812, 4443) and TCP resets
// (RFC 9293). Each takes the frame's own place, with its link header, MAC addresses swapped.
#pragma once

#include "dataplane/packet/parse.h"
#include "maglev/rules/reply.h"

namespace linimo::packet {

/// Where the reply lies afterwards.
struct Reply {
  uint32_t growth;  // bytes that it begins before the frame did
  uint32_t length;  // of the whole frame
};

/// Room that a reply needs in front of the frame.
inline constexpr uint32_t kReplyHeadroom = sizeof(Ipv6) + LINIMO_ICMP_HEADER;

/// An ICMP error quoting as much of the packet as may be. `mtu`: of LINIMO_ERROR_TOO_BIG, what the packet
/// should have kept to. `bytes` is the start of the frame.
Reply make_icmp_error(uint8_t* bytes, const Frame& frame, const Flow& flow, linimo_error_kind error,
                      uint32_t mtu);

/// The answer to a TCP segment without RST: RFC 9293, 3.10.7.1. The segment must be whole.
Reply make_reset(uint8_t* bytes, const Frame& frame, const Flow& flow);

}  // namespace linimo::packet
