/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Fragments in a fleet: routers that spread packets over several nodes (ECMP) hash ports where there are any,
 * and later fragments have none, so that a datagram's fragments come to different nodes. A Maglev table over
 * the nodes, by source, destination and (IPv4) protocol, says which node handles them; the others pass them
 * to it in a GRE tunnel (RFC 2784). It judges them as if they had come to itself, and passes nothing on that
 * was passed to it: whatever tables nodes have, no packet goes round.
 */
#ifndef LINIMO_MAGLEV_RULES_PASSING_H
#define LINIMO_MAGLEV_RULES_PASSING_H

#include "maglev/rules/flow_hash.h"
#include "maglev/rules/tunnel.h"

/* Traffic that is passed on is counted as if it were of the service of this id. */
#define LINIMO_PASSED_SERVICE LINIMO_MAX_SERVICES

/* Of the key whose hash chooses the node: as in flow_hash.h. No flow and no datagram has such a key. IPv6's
 * fragments may differ in what follows their Fragment header (RFC 8200, 4.5). */
LINIMO_RULE __u64 linimo_handler_key_end(int v6, __u8 protocol) {
  return linimo_key_end(0, v6 ? 0xff : protocol) | 1ULL << 41;
}

/* Is it the outer header of a packet that a node may have passed on? In words as they lie in memory: IPv4
 * without options, whole, GRE; `available`: bytes up to the frame's end. The checksum is the caller's to
 * check. */
LINIMO_RULE int linimo_may_be_passed4(__u32 version_to_length, __u32 id_and_fragment, __u32 ttl_to_checksum,
                                      __u32 available) {
  const __u32 total = LINIMO_SWAP16(version_to_length >> 16);
  return (version_to_length & 0xff) == 0x45 && (id_and_fragment >> 16 & LINIMO_MORE_OR_OFFSET) == 0 &&
         (__u8)(ttl_to_checksum >> 8) == LINIMO_GRE && total <= available &&
         total >= LINIMO_IPV4_HEADER + LINIMO_GRE_HEADER;
}

/* The same of IPv6, without extension headers. */
LINIMO_RULE int linimo_may_be_passed6(__u32 length_to_hops, __u32 available) {
  const __u32 payload = LINIMO_SWAP16(length_to_hops);
  return (__u8)(length_to_hops >> 16) == LINIMO_GRE && payload >= LINIMO_GRE_HEADER &&
         payload + LINIMO_IPV6_HEADER <= available;
}

#endif
