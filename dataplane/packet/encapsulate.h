// The outer header: IPIP (RFC 2003, 4213, 2473), GRE (RFC 2784) or GUE (draft-ietf-intarea-gue, version 1:
// UDP with the inner IP header right behind it), IPv4 or IPv6 around either.
//
// A tunnel's header is prepared once per generation; a packet then takes a copy and a handful of stores. The
// inner packet is not altered in any byte.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/parse.h"
#include "maglev/address.h"

namespace linimo::packet {

/// What of the outer header does not vary from packet to packet.
struct Tunnel {
  uint8_t addresses[32];   // source, then destination, as they lie in the header: 8 bytes or 32
  uint64_t hash_mask;      // low bits of the source address that come from the flow hash, and are 0 in it
  uint16_t checksum_base;  // IPv4: sum over the addresses
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

/// What of the inner packet its outer header depends on.
struct Inner {
  const uint8_t* ip;
  uint32_t length;  // of the IP packet, by its header
  bool v6;
};

inline uint32_t traffic_class(Inner inner) {
  return inner.v6 ? swap32(load32(inner.ip)) >> 20 & 0xff : inner.ip[offsetof(Ipv4, tos)];
}

/// An outer IPv4 header, put together in words.
template <bool kInnerV6>
inline void put_ipv4(const Tunnel& tunnel, Inner inner, uint32_t next, uint32_t total, uint64_t hash,
                     uint8_t* outer) {
  constexpr uint32_t kFlag = uint32_t{kDontFragment} << 16;
  uint32_t version_to_length = uint32_t{swap16(static_cast<uint16_t>(total))} << 16 | 0x45;
  uint32_t id_and_fragment = kFlag;
  uint32_t ttl_to_checksum = next << 8 | kTtl;
  uint32_t source = load32(tunnel.addresses);
  if constexpr (kInnerV6) {
    version_to_length |= traffic_class(inner) << 8;
  } else {
    version_to_length |= load32(inner.ip) & 0xff00;
    const uint32_t of_inner = load32(inner.ip + offsetof(Ipv4, id));
    if ((of_inner & kFlag) == 0) id_and_fragment = of_inner & 0xffff;
  }
  uint64_t sum = uint64_t{version_to_length} + id_and_fragment + ttl_to_checksum + tunnel.checksum_base;
  if (tunnel.hash_mask != 0) [[unlikely]] {
    const uint32_t source_bits = swap32(static_cast<uint32_t>(hash & tunnel.hash_mask));
    source |= source_bits;
    sum += source_bits;
  }
  ttl_to_checksum |= uint32_t{checksum_finish(sum)} << 16;
  store32(outer, version_to_length);
  store32(outer + 4, id_and_fragment);
  store32(outer + 8, ttl_to_checksum);
  store32(outer + 12, source);
  store32(outer + 16, load32(tunnel.addresses + 4));
}

/// The low bits of the source address, those in `mask`, from the hash.
inline void put_source_bits(uint8_t* source, uint64_t mask, uint64_t hash) {
  uint64_t low;
  std::memcpy(&low, source + 8, 8);
  low = __builtin_bswap64((__builtin_bswap64(low) & ~mask) | (hash & mask));
  std::memcpy(source + 8, &low, 8);
}

/// An outer IPv6 header, likewise.
inline void put_ipv6(const Tunnel& tunnel, Inner inner, uint32_t next_header, uint32_t payload, uint64_t hash,
                     uint8_t* outer) {
  store32(outer, swap32(6U << 28 | traffic_class(inner) << 20 | (hash & 0xfffff)));
  store32(outer + 4, swap16(static_cast<uint16_t>(payload)) | next_header << 16 | uint32_t{kTtl} << 24);
  std::memcpy(outer + 8, tunnel.addresses, sizeof tunnel.addresses);
  if (tunnel.hash_mask != 0) [[unlikely]]
    put_source_bits(outer + 8, tunnel.hash_mask, hash);
}

/// Of IPIP.
inline void put_ip(const Tunnel& tunnel, Inner inner, uint64_t hash, uint8_t* outer) {
  if (tunnel.outer_v6) {
    put_ipv6(tunnel, inner, inner.v6 ? kIpv6InIp : kIpip, inner.length, hash, outer);
  } else if (inner.v6) {
    put_ipv4<true>(tunnel, inner, kIpv6InIp, inner.length + sizeof(Ipv4), hash, outer);
  } else {
    put_ipv4<false>(tunnel, inner, kIpip, inner.length + sizeof(Ipv4), hash, outer);
  }
}

/// Writes the outer header to the `tunnel.header_length` bytes that lie before the inner IP header. Traffic
/// class and ECN are copied (RFC 6040, normal mode); DF is the inner packet's, set for inner IPv6; the
/// identification is 0 where DF is set (RFC 6864), else the inner packet's; `hash` gives the outer IPv6 flow
/// label, GUE's source port and what the source address leaves open.
void encapsulate(const Tunnel& tunnel, Inner inner, uint64_t hash, uint8_t* outer);

/// Does the outer header have a checksum over all that it carries, which `encapsulate` leaves open?
inline bool is_checksummed(const Tunnel& tunnel) {
  return tunnel.outer_v6 && tunnel.encapsulation == LINIMO_ENCAP_GUE;
}

/// Fills it in. `flow` is what `judge` said of `inner`.
void put_checksum(const Frame& inner, const Flow& flow, uint8_t* outer);

}  // namespace linimo::packet
