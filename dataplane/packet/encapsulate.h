// The outer header: IPIP, GRE or GUE, IPv4 or IPv6 around either. What it says: maglev/rules/tunnel.h.
//
// A tunnel's header is prepared once per generation; a packet then takes a copy and a handful of stores. The
// inner packet is not altered in any byte.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/parse.h"
#include "maglev/address.h"
#include "maglev/rules/tunnel.h"

namespace linimo::packet {

/// What of the outer header does not vary from packet to packet.
struct Tunnel {
  uint16_t checksum_base;  // IPv4: sum over the addresses
  uint16_t gue_port;       // network byte order
  uint8_t header_length;   // outer IP and what follows it, up to the inner IP header
  bool outer_v6;
  linimo_encapsulation encapsulation : 8;
  uint8_t source_prefix;  // leading bits of the source, of its 128-bit form; the flow hash gives the others
  uint8_t addresses[32];  // source, then destination, as they lie in the header: 8 bytes or 32

  /// Low bits of the source address that come from the flow hash, and are 0 in it.
  uint64_t open_bits() const { return linimo_open_bits(source_prefix); }
  bool has_open_bits() const { return source_prefix != 128; }
};
static_assert(sizeof(Tunnel) == 40);

struct TunnelEnds {  // both of one family: that of the outer header
  Address source;
  Address destination;
  uint32_t source_prefix = 128;  // leading bits of `source` (of the 128-bit form) that the flow hash leaves
};

/// `gue_port`: UDP destination, host byte order; only for GUE.
Tunnel make_tunnel(linimo_encapsulation encapsulation, const TunnelEnds& ends, uint16_t gue_port = 0);

/// Of an outer IPv4 header: a router on the way is to say what is too long. Its identification is then 0 (RFC
/// 6864).
void forbid_fragments(uint8_t* outer);

/// What of the inner packet its outer header depends on.
struct Inner {
  const uint8_t* ip;
  uint32_t length;  // of the IP packet, by its header
  bool v6;
};

inline uint32_t traffic_class(Inner inner) {
  return inner.v6 ? swap32(load32(inner.ip)) >> 20 & 0xff : inner.ip[offsetof(Ipv4, tos)];
}

template <bool kInnerV6>
inline void put_ipv4(const Tunnel& tunnel, Inner inner, uint32_t next, uint32_t total, uint64_t hash,
                     uint8_t* outer) {
  const uint32_t class_in_place = kInnerV6 ? traffic_class(inner) << 8 : load32(inner.ip) & 0xff00;
  const uint32_t id_and_fragment = kInnerV6 ? 0 : load32(inner.ip + offsetof(Ipv4, id));
  const linimo_outer4 words = linimo_outer4_of(kInnerV6, class_in_place, id_and_fragment, next, total,
                                               tunnel.checksum_base, tunnel.open_bits(), hash);
  store32(outer, words.version_to_length);
  store32(outer + 4, words.id_and_fragment);
  store32(outer + 8, words.ttl_to_checksum);
  store32(outer + 12, load32(tunnel.addresses) | words.source);
  store32(outer + 16, load32(tunnel.addresses + 4));
}

/// The low bits of the source address, those in `mask`, from the hash.
inline void put_source_bits(uint8_t* source, uint64_t mask, uint64_t hash) {
  const uint64_t low =
      (load64(source + 8) & ~linimo_source_bits6(mask, ~uint64_t{0})) | linimo_source_bits6(mask, hash);
  std::memcpy(source + 8, &low, 8);
}

inline void put_ipv6(const Tunnel& tunnel, Inner inner, uint32_t next_header, uint32_t payload, uint64_t hash,
                     uint8_t* outer) {
  const linimo_outer6 words = linimo_outer6_of(traffic_class(inner), next_header, payload, hash);
  store32(outer, words.version_to_label);
  store32(outer + 4, words.length_to_hops);
  std::memcpy(outer + 8, tunnel.addresses, sizeof tunnel.addresses);
  if (tunnel.has_open_bits()) [[unlikely]]
    put_source_bits(outer + 8, tunnel.open_bits(), hash);
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

/// Writes the outer header to the `tunnel.header_length` bytes that lie before the inner IP header.
void encapsulate(const Tunnel& tunnel, Inner inner, uint64_t hash, uint8_t* outer);

/// Does the outer header have a checksum over all that it carries, which `encapsulate` leaves open?
inline bool is_checksummed(const Tunnel& tunnel) {
  return tunnel.outer_v6 && tunnel.encapsulation == LINIMO_ENCAP_GUE;
}

/// Fills it in. `flow` is what `judge` said of `inner`.
void put_checksum(const Frame& inner, const Flow& flow, uint8_t* outer);

}  // namespace linimo::packet
