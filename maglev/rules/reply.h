/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Replies that Linimo makes itself: to which packets, and what they say. How many: reply_limit.h.
 */
#ifndef LINIMO_MAGLEV_RULES_REPLY_H
#define LINIMO_MAGLEV_RULES_REPLY_H

#include "maglev/rules/icmp.h"

#define LINIMO_REPLY_TTL 64u
#define LINIMO_REPLY_TOS 0xc0u      /* of ICMP errors: internetwork control, RFC 1812, 4.3.2.5 */
#define LINIMO_LONGEST_ERROR 576u   /* RFC 1812, 4.3.2.3 */
#define LINIMO_LONGEST_ERROR6 1280u /* RFC 4443, 3.2 */
#define LINIMO_LEAST_MTU 68u        /* RFC 791 */
#define LINIMO_LEAST_MTU6 1280u     /* RFC 8200, 5 */

enum linimo_error_kind { LINIMO_ERROR_TOO_BIG, LINIMO_ERROR_PORT_UNREACHABLE };

/* Type and code of an ICMP error, as they lie in memory. */
LINIMO_RULE __u16 linimo_type_and_code(int v6, enum linimo_error_kind kind) {
  const int too_big = kind == LINIMO_ERROR_TOO_BIG;
  const __u32 type = !v6 ? LINIMO_UNREACHABLE : too_big ? LINIMO_PACKET_TOO_BIG6 : LINIMO_UNREACHABLE6;
  if (too_big) return (__u16)(v6 ? type : type | LINIMO_FRAGMENTATION_NEEDED << 8);
  return (__u16)(type | (v6 ? LINIMO_PORT_UNREACHABLE6 : LINIMO_PORT_UNREACHABLE) << 8);
}

/* Bytes of a packet that an ICMP error about it quotes: as many as may be. */
LINIMO_RULE __u32 linimo_quoted_length(int v6, __u32 ip_length) {
  const __u32 most = v6 ? LINIMO_LONGEST_ERROR6 - LINIMO_IPV6_HEADER - LINIMO_ICMP_HEADER
                        : LINIMO_LONGEST_ERROR - LINIMO_IPV4_HEADER - LINIMO_ICMP_HEADER;
  return ip_length < most ? ip_length : most;
}

/* Is a packet that is too long for its way sent all the same, and the tunnel's packet in fragments? Every way
 * must take IPv6 packets of that length, so their sender cannot be told to send shorter ones. */
LINIMO_RULE int linimo_leaves_in_fragments(int v6, __u32 ip_length) {
  return v6 && ip_length <= LINIMO_LEAST_MTU6;
}

/* Is the sender told that it is? Never in answer to an ICMP error, to a fragment but the first, or where it
 * lets routers fragment. `flags_offset`: of an IPv4 header. */
LINIMO_RULE int linimo_too_big_is_told(int v6, __u16 flags_offset, enum linimo_fragment_kind fragment,
                                       int is_icmp_error) {
  return (v6 || (flags_offset & LINIMO_DONT_FRAGMENT)) && fragment != LINIMO_LATER_FRAGMENT && !is_icmp_error;
}

/* The MTU that it is told: the way's, without the tunnel's headers. */
LINIMO_RULE __u32 linimo_told_mtu(int v6, __u32 way_mtu, __u32 overhead) {
  const __u32 least = v6 ? LINIMO_LEAST_MTU6 : LINIMO_LEAST_MTU;
  return way_mtu < least + overhead ? least : way_mtu - overhead;
}

/* May what has no backend be answered? By a RST, but no RST by another; UDP by an ICMP error. */
LINIMO_RULE int linimo_may_be_rejected(__u8 protocol, enum linimo_fragment_kind fragment, __u8 tcp_flags) {
  return protocol == LINIMO_UDP || (fragment == LINIMO_WHOLE && (tcp_flags & LINIMO_RST) == 0);
}

struct linimo_reset { /* in network byte order */
  __u32 sequence, acknowledgement;
  __u8 flags;
};

/* The RST to a segment without RST: RFC 9293, 3.10.7.1. `payload`: bytes behind its header. */
LINIMO_RULE struct linimo_reset linimo_reset_for(__u32 sequence, __u32 acknowledgement, __u8 tcp_flags,
                                                 __u32 payload) {
  struct linimo_reset reset = {acknowledgement, 0, LINIMO_RST};
  if (tcp_flags & LINIMO_ACK) return reset;
  const __u32 counted = payload + ((tcp_flags & LINIMO_SYN) != 0) + ((tcp_flags & LINIMO_FIN) != 0);
  reset.sequence = 0;
  reset.acknowledgement = LINIMO_SWAP32(LINIMO_SWAP32(sequence) + counted);
  reset.flags |= LINIMO_ACK;
  return reset;
}

#endif
