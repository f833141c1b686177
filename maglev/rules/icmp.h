/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * ICMP and ICMPv6 to a VIP (RFC 792, RFC 4443): what a message is. What it quotes is read by
 * ipv6_extensions.h.
 */
#ifndef LINIMO_MAGLEV_RULES_ICMP_H
#define LINIMO_MAGLEV_RULES_ICMP_H

#include "maglev/rules/judge.h"

enum linimo_icmp_number { /* types but where it says so; behind the empty line ICMPv6's */
                          LINIMO_ECHO_REPLY = 0,
                          LINIMO_UNREACHABLE = 3,
                          LINIMO_PORT_UNREACHABLE = 3,     /* its code */
                          LINIMO_FRAGMENTATION_NEEDED = 4, /* likewise */
                          LINIMO_ECHO_REQUEST = 8,
                          LINIMO_TIME_EXCEEDED = 11,
                          LINIMO_PARAMETER_PROBLEM = 12,

                          LINIMO_UNREACHABLE6 = 1,
                          LINIMO_PACKET_TOO_BIG6 = 2,
                          LINIMO_PARAMETER_PROBLEM6 = 4,
                          LINIMO_PORT_UNREACHABLE6 = 4, /* a code of LINIMO_UNREACHABLE6 */
                          LINIMO_ECHO_REQUEST6 = 128,
                          LINIMO_ECHO_REPLY6 = 129,
                          LINIMO_ROUTER_SOLICITATION6 =
                              133,                /* the first message of neighbour discovery, RFC 4861 */
                          LINIMO_REDIRECT6 = 137, /* the last */
};

#define LINIMO_ICMP_HEADER 8u      /* of the messages that anything is made of */
#define LINIMO_QUOTED_TRANSPORT 8u /* bytes that an error must quote of the transport header */

LINIMO_RULE int linimo_is_echo_request(int v6, __u8 type, __u8 code) {
  return type == (v6 ? LINIMO_ECHO_REQUEST6 : LINIMO_ECHO_REQUEST) && code == 0;
}

/* About a packet that a backend sent from the VIP. */
LINIMO_RULE int linimo_is_icmp_error(int v6, __u8 type) {
  if (v6) return type >= LINIMO_UNREACHABLE6 && type <= LINIMO_PARAMETER_PROBLEM6;
  return type == LINIMO_UNREACHABLE || type == LINIMO_TIME_EXCEEDED || type == LINIMO_PARAMETER_PROBLEM;
}

/* From a neighbour, as the hop limit shows: what comes from farther away is none, and may have been forwarded
 * by this very host. Of ICMPv6. */
LINIMO_RULE int linimo_is_neighbour_discovery(__u8 hop_limit, __u8 type, __u8 code) {
  return hop_limit == 255 && type >= LINIMO_ROUTER_SOLICITATION6 && type <= LINIMO_REDIRECT6 && code == 0;
}

/* Can the quoted IPv4 header be followed to its ports? `left`: bytes of the quote. */
LINIMO_RULE int linimo_is_sound_quote4(__u32 version, __u32 header, __u32 left, __u16 flags_offset) {
  return version == 4 && header >= LINIMO_IPV4_HEADER && header + LINIMO_QUOTED_TRANSPORT <= left &&
         (flags_offset & LINIMO_OFFSET) == 0;
}

/* An IPv4 option (RFC 791, 3.1). What came by a source route, done or not, has to go back by it (RFC 1122,
 * 3.2.1.8), which is not done here. */
#define LINIMO_MOST_OPTIONS 40 /* each a byte */
LINIMO_RULE int linimo_is_source_route(__u8 option) {
  return option == 131 || option == 137; /* loose, strict */
}

/* Where the option behind one begins; `end`: there is none, or it is no list of options. `length`: the
 * option's second byte, of no matter what where it would lie at the end. */
LINIMO_RULE __u32 linimo_behind_option(__u32 at, __u32 end, __u8 option, __u8 length) {
  if (option == 1) return at + 1; /* no operation */
  if (option == 0 || at + 1 >= end || length < 2) return end;
  return at + length;
}

#endif
