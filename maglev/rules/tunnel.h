/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The outer header: IPIP (RFC 2003, 4213, 2473), GRE (RFC 2784) or GUE (draft-ietf-intarea-gue, version 1:
 * UDP with the inner IP header right behind it), IPv4 or IPv6 around either. In words as they are stored; the
 * caller stores them, and the addresses.
 *
 * Traffic class and ECN are copied (RFC 6040, normal mode); DF is the inner packet's, set for inner IPv6; the
 * identification is 0 where DF is set (RFC 6864), else the inner packet's. The flow's hash gives the outer
 * IPv6 flow label, GUE's source port, and what the source address leaves open.
 */
#ifndef LINIMO_MAGLEV_RULES_TUNNEL_H
#define LINIMO_MAGLEV_RULES_TUNNEL_H

#include "maglev/abi.h"
#include "maglev/rules/checksum.h"

#define LINIMO_TUNNEL_TTL 64u
#define LINIMO_GUE_PORT_FIRST 49152u /* of the source ports that the hash chooses from */
#define LINIMO_GUE_PORT_BITS 0x3fffu

/* What follows the outer IP header, for an inner packet of that family. */
LINIMO_RULE __u8 linimo_tunnel_protocol(__u8 encapsulation, int inner_v6) {
  if (encapsulation == LINIMO_ENCAP_GRE) return LINIMO_GRE;
  if (encapsulation == LINIMO_ENCAP_GUE) return LINIMO_UDP;
  return inner_v6 ? LINIMO_IPV6 : LINIMO_IPIP;
}

/* Bytes before the inner IP header. */
LINIMO_RULE __u8 linimo_tunnel_overhead(__u8 encapsulation, int outer_v6) {
  const __u32 behind_ip = encapsulation == LINIMO_ENCAP_GRE   ? LINIMO_GRE_HEADER
                          : encapsulation == LINIMO_ENCAP_GUE ? LINIMO_UDP_HEADER
                                                              : 0u;
  return (__u8)((outer_v6 ? LINIMO_IPV6_HEADER : LINIMO_IPV4_HEADER) + behind_ip);
}

/* Low bits of the source address that come from the hash, where `prefix` leading ones of the 128-bit form
 * stay. */
LINIMO_RULE __u64 linimo_open_bits(__u32 prefix) {
  return prefix <= 64 ? ~0ULL : (1ULL << (128 - prefix)) - 1;
}

struct linimo_outer4 {
  __u32 version_to_length, id_and_fragment, ttl_to_checksum;
  __u32 source; /* what of it comes from the hash */
};

/* `class_in_place`: traffic class << 8; `inner_id_and_fragment`: of inner IPv4, as the word lies in memory;
 * `total` length of the outer packet; `addresses_sum`: of the outer source, its open bits zero, and
 * destination. */
LINIMO_RULE struct linimo_outer4 linimo_outer4_of(int inner_v6, __u32 class_in_place,
                                                  __u32 inner_id_and_fragment, __u32 protocol, __u32 total,
                                                  __u64 addresses_sum, __u64 open_bits, __u64 hash) {
  const __u32 dont_fragment = (__u32)LINIMO_DONT_FRAGMENT << 16;
  struct linimo_outer4 outer = {(__u32)LINIMO_SWAP16(total) << 16 | class_in_place | 0x45, dont_fragment,
                                protocol << 8 | LINIMO_TUNNEL_TTL, 0};
  if (!inner_v6 && (inner_id_and_fragment & dont_fragment) == 0)
    outer.id_and_fragment = inner_id_and_fragment & 0xffff;
  __u64 sum = (__u64)outer.version_to_length + outer.id_and_fragment + outer.ttl_to_checksum + addresses_sum;
  if (__builtin_expect(open_bits != 0, 0)) {
    outer.source = LINIMO_SWAP32(hash & open_bits);
    sum += outer.source;
  }
  outer.ttl_to_checksum |= (__u32)linimo_checksum_finish(sum) << 16;
  return outer;
}

struct linimo_outer6 {
  __u32 version_to_label, length_to_hops;
};

/* `payload`: bytes behind the outer IP header. */
LINIMO_RULE struct linimo_outer6 linimo_outer6_of(__u32 traffic_class, __u32 next_header, __u32 payload,
                                                  __u64 hash) {
  const struct linimo_outer6 outer = {LINIMO_SWAP32(6u << 28 | traffic_class << 20 | (hash & 0xfffff)),
                                      LINIMO_SWAP16(payload) | next_header << 16 | LINIMO_TUNNEL_TTL << 24};
  return outer;
}

/* What of an outer IPv6 source comes from the hash: its last eight bytes, as they lie in memory. */
LINIMO_RULE __u64 linimo_source_bits6(__u64 open_bits, __u64 hash) {
  return LINIMO_SWAP64(hash & open_bits);
}

LINIMO_RULE __u32 linimo_gre_header(int inner_v6) {
  return (__u32)(inner_v6 ? LINIMO_TYPE_IPV6 : LINIMO_TYPE_IPV4) << 16;
}

struct linimo_gue {
  __u32 ports, length_and_checksum; /* the checksum still zero: over IPv6 it may not stay so */
};

/* `port`: the destination, in network byte order. */
LINIMO_RULE struct linimo_gue linimo_gue_header(__u16 port, __u32 inner_length, __u64 hash) {
  const struct linimo_gue gue = {
      LINIMO_SWAP16(LINIMO_GUE_PORT_FIRST | (hash & LINIMO_GUE_PORT_BITS)) | (__u32)port << 16,
      LINIMO_SWAP16(inner_length + LINIMO_UDP_HEADER)};
  return gue;
}

#endif
