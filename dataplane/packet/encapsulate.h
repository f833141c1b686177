// The outer header: IPIP (RFC 2003, 4213, 2473), GRE (RFC 2784) or GUE (draft-ietf-intarea-gue, version 1:
// UDP with the inner IP header right behind it), IPv4 or IPv6 around either.
//
// A tunnel's header is prepared once per generation; a packet then takes a copy and a handful of stores. The
// inner packet is not altered in any byte.
#pragma once

#include <cstdint>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/parse.h"
#include "maglev/address.h"

namespace linimo::packet {

/// What of the outer header does not vary from packet to packet.
struct Tunnel {
  uint8_t addresses[32];   // source, then destination, as they lie in the header: 8 bytes or 32
  uint64_t hash_mask;      // low bits of the source address that come from the flow hash, and are 0 in it
  uint16_t checksum_base;  // IPv4: sum over the fixed parts of the header
  uint16_t gue_port;       // network byte order
  uint8_t header_length;   // outer IP and what follows it, up to the inner IP header
  bool outer_v6;
  linimo_encapsulation encapsulation : 8;
};

struct TunnelEnds {  // both of one family: that of the outer header
  Address source;
  Address destination;
  uint32_t source_prefix = 128;  // leading bits of `source` (of the 128-bit form) that the flow hash leaves
};

/// `gue_port`: UDP destination, host byte order; only for GUE.
Tunnel make_tunnel(linimo_encapsulation encapsulation, const TunnelEnds& ends, uint16_t gue_port = 0);

inline constexpr uint8_t kTtl = 64;

inline uint8_t traffic_class(const Frame& frame) {
  return frame.is_v6 ? static_cast<uint8_t>(swap32(frame.v6().version_class_label) >> 20) : frame.v4().tos;
}

/// The protocol number that says what follows the outer IP header.
inline uint8_t next_protocol(const Tunnel& tunnel, const Frame& inner) {
  switch (tunnel.encapsulation) {
    case LINIMO_ENCAP_GRE:
      return kGre;
    case LINIMO_ENCAP_GUE:
      return kUdp;
    default:
      return inner.is_v6 ? kIpv6InIp : kIpip;
  }
}

/// An outer IPv4 header, put together in words: a handful of stores.
inline void put_ipv4(const Tunnel& tunnel, const Frame& inner, uint32_t total, uint64_t hash,
                     uint8_t* outer) {
  const uint32_t fragment = inner.is_v6 ? kDontFragment : inner.v4().fragment & kDontFragment;
  const uint32_t tos = uint32_t{traffic_class(inner)} << 8;
  const uint32_t length = swap16(static_cast<uint16_t>(total));
  const uint32_t id = fragment != 0 ? 0 : inner.v4().id;
  const uint32_t protocol = uint32_t{next_protocol(tunnel, inner)} << 8;
  uint64_t addresses;
  std::memcpy(&addresses, tunnel.addresses, 8);
  uint64_t sum = uint64_t{tunnel.checksum_base} + tos + length + id + fragment + protocol;
  if (tunnel.hash_mask != 0) {
    const uint32_t source_bits = swap32(static_cast<uint32_t>(hash & tunnel.hash_mask));
    addresses |= source_bits;
    sum += source_bits;
  }
  const uint64_t words[] = {0x45 | tos | length << 16 | uint64_t{id} << 32 | uint64_t{fragment} << 48,
                            kTtl | protocol | uint64_t{checksum_finish(sum)} << 16 | addresses << 32};
  const auto destination = static_cast<uint32_t>(addresses >> 32);
  std::memcpy(outer, words, sizeof words);
  std::memcpy(outer + sizeof words, &destination, sizeof destination);
}

/// Any other.
void put_headers(const Tunnel& tunnel, const Frame& inner, const Flow& flow, uint64_t flow_hash,
                 uint8_t* outer);

/// Writes the outer header to the `tunnel.header_length` bytes that lie before the inner IP header. Traffic
/// class and ECN are copied (RFC 6040, normal mode); DF is the inner packet's, set for inner IPv6; the
/// identification is 0 where DF is set (RFC 6864), else the inner packet's; `flow_hash` gives the outer IPv6
/// flow label, GUE's source port and what the source address leaves open. `flow` is what `judge` said of
/// `inner`.
inline void encapsulate(const Tunnel& tunnel, const Frame& inner, const Flow& flow, uint64_t flow_hash,
                        uint8_t* outer) {
  if (tunnel.encapsulation == LINIMO_ENCAP_IPIP && !tunnel.outer_v6) {
    put_ipv4(tunnel, inner, uint32_t{flow.ip_length} + sizeof(Ipv4), flow_hash, outer);
  } else {
    put_headers(tunnel, inner, flow, flow_hash, outer);
  }
}

}  // namespace linimo::packet
