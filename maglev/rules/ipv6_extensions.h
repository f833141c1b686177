/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The chain of extension headers before an IPv6 packet's transport header (RFC 8200, 4): of a packet to a
 * VIP, and of one that an ICMP error quotes.
 *
 *   struct linimo_extensions chain = linimo_extensions_begin(next_header);
 *   while (linimo_has_extension(&chain))   // at most LINIMO_EXTENSION_ROUNDS times
 *     if (no eight bytes at chain.offset, or !linimo_pass_extension(&chain, them, end)) ...   // no sound
 * chain
 *   // chain.offset and chain.next are the transport header's, or what a later fragment goes on with
 */
#ifndef LINIMO_MAGLEV_RULES_IPV6_EXTENSIONS_H
#define LINIMO_MAGLEV_RULES_IPV6_EXTENSIONS_H

#include "maglev/rules/judge.h"

#define LINIMO_MAX_EXTENSIONS 6                             /* the Fragment header not among them */
#define LINIMO_EXTENSION_ROUNDS (LINIMO_MAX_EXTENSIONS + 2) /* with the Fragment header, and one too many */

struct linimo_extensions {
  __u32 offset; /* from the IPv6 header */
  __u32 count;  /* of those passed, the Fragment header not among them */
  __u32 id;     /* the datagram's, as it lies on the wire, where there is a Fragment header */
  __u8 next;
  __u8 fragment_seen;
  __u8 on_its_way; /* a routing header (4.4) has segments left: the last destination is another */
  __u8 fragment;   /* enum linimo_fragment_kind */
};

LINIMO_RULE struct linimo_extensions linimo_extensions_begin(__u8 next_header) {
  const struct linimo_extensions chain = {LINIMO_IPV6_HEADER, 0, 0, next_header, 0, 0, LINIMO_WHOLE};
  return chain;
}

/* Of those that may stand before TCP and UDP, the Fragment header aside. */
LINIMO_RULE int linimo_is_extension(__u8 next_header) {
  return next_header == LINIMO_HOP_BY_HOP || next_header == LINIMO_ROUTING ||
         next_header == LINIMO_DESTINATION_OPTIONS;
}

/* Bytes of one that says so in its second byte. */
LINIMO_RULE __u32 linimo_extension_length(__u8 said) {
  return 8 + said * 8u;
}

/* Is there another one to pass? Behind the Fragment header of a later fragment there is nothing to be read.
 */
LINIMO_RULE int linimo_has_extension(const struct linimo_extensions* chain) {
  return chain->fragment != LINIMO_LATER_FRAGMENT &&
         (linimo_is_extension(chain->next) || chain->next == LINIMO_FRAGMENT);
}

/* Passes one. `header`: its first eight bytes, as they lie in memory; `end`: of the packet. 0: there are too
 * many, two Fragment headers, or it ends behind the packet. */
LINIMO_RULE int linimo_pass_extension(struct linimo_extensions* chain, __u64 header, __u32 end) {
  if (chain->next == LINIMO_FRAGMENT) {
    if (chain->fragment_seen) return 0;
    chain->fragment_seen = 1;
    chain->fragment = linimo_fragment_kind6((__u16)(header >> 16));
    chain->id = (__u32)(header >> 32);
    chain->next = (__u8)header;
    chain->offset += 8;
    return 1;
  }
  if (chain->count++ == LINIMO_MAX_EXTENSIONS) return 0;
  if (chain->next == LINIMO_ROUTING && (__u8)(header >> 24) != 0) chain->on_its_way = 1;
  chain->next = (__u8)header;
  chain->offset += linimo_extension_length((__u8)(header >> 8));
  return chain->offset <= end;
}

/* What a later fragment is for all that one can know: its extension headers may go on in it. */
LINIMO_RULE enum linimo_verdict linimo_judge_later_fragment6(__u8 next) {
  if (next == LINIMO_ICMPV6) return LINIMO_VERDICT_ICMP;
  return next == LINIMO_TCP || next == LINIMO_UDP || linimo_is_extension(next) ? LINIMO_VERDICT_LATER_FRAGMENT
                                                                               : LINIMO_VERDICT_OTHER;
}

#endif
