// The outer header: IPIP (RFC 2003, 4213, 2473), GRE (RFC 2784) or GUE (draft-ietf-intarea-gue, version 1:
// UDP with the inner IP header right behind it), IPv4 or IPv6 around either.
//
// A tunnel's header is prepared once per generation; a packet then takes a copy and a handful of stores. The
// inner packet is not altered in any byte.
#pragma once

#include <cstdint>

#include "dataplane/packet/parse.h"
#include "maglev/address.h"

namespace linimo::packet {

/// One cache line: the outer header with everything that does not vary from packet to packet.
struct alignas(64) Tunnel {
  uint8_t header[48];
  uint32_t checksum_base;  // IPv4: sum over the fixed parts of the header
  uint8_t header_length;   // outer IP and what follows it, up to the inner IP header
  bool outer_v6;
  linimo_encapsulation encapsulation : 8;
  uint64_t hash_mask;  // low bits of the source address that come from the flow hash, and are 0 in `header`
};
static_assert(sizeof(Tunnel) == 64);

struct TunnelEnds {  // both of one family: that of the outer header
  Address source;
  Address destination;
  uint32_t source_prefix = 128;  // leading bits of `source` (of the 128-bit form) that the flow hash leaves
};

/// `gue_port`: UDP destination, host byte order; only for GUE.
Tunnel make_tunnel(linimo_encapsulation encapsulation, const TunnelEnds& ends, uint16_t gue_port = 0);

/// Writes the outer header to the `tunnel.header_length` bytes that lie before the inner IP header. Traffic
/// class and ECN are copied (RFC 6040, normal mode); DF is the inner packet's, set for inner IPv6; the
/// identification is 0 where DF is set (RFC 6864), else the inner packet's; `flow_hash` gives the outer IPv6
/// flow label, GUE's source port and what the source address leaves open. `flow` is what `judge` said of
/// `inner`.
void encapsulate(const Tunnel& tunnel, const Frame& inner, const Flow& flow, uint64_t flow_hash,
                 uint8_t* outer);

}  // namespace linimo::packet
