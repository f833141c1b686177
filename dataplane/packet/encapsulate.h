// The outer header: IPIP (RFC 2003, 4213, 2473) or GRE (RFC 2784), IPv4 or IPv6 around either.
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
  bool gre;
};
static_assert(sizeof(Tunnel) == 64);

/// Both addresses must be of one family: that of the outer header.
Tunnel make_tunnel(linimo_encapsulation encapsulation, const Address& source, const Address& destination);

/// Writes the outer header to the `tunnel.header_length` bytes that lie before the inner IP header. Traffic
/// class and ECN are copied (RFC 6040, normal mode); DF is the inner packet's, set for inner IPv6; the
/// identification is 0 where DF is set (RFC 6864), else the inner packet's; `flow_hash` gives the outer IPv6
/// flow label.
void encapsulate(const Tunnel& tunnel, const Frame& inner, uint16_t inner_length, uint64_t flow_hash,
                 uint8_t* outer);

}  // namespace linimo::packet
