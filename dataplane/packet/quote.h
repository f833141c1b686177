// The packet that an ICMP error quotes (RFC 792, RFC 4443): whose flow the error is about.
#pragma once

#include <array>
#include <optional>

#include "dataplane/packet/parse.h"

namespace linimo::packet {

/// The flow as its client's packets have it: what the quoted packet calls the destination is the source here.
/// Addresses as they lie on the wire, IPv4 in the first four bytes; ports in network byte order.
struct QuotedFlow {
  std::array<uint8_t, 16> source, destination;
  uint16_t source_port, destination_port;
  uint8_t protocol;  // TCP or UDP
};

/// Nothing if the ICMP message is no error, or quotes what no service can have sent from the address that the
/// error came to. Eight bytes behind the quoted IP header suffice. After `judge` said kIcmp.
std::optional<QuotedFlow> quoted_flow(const Frame& frame, const Flow& flow);

}  // namespace linimo::packet
