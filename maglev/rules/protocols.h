/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Numbers of protocols and fields that rules ask for. Of 16 bits on the wire: as they lie in memory.
 */
#ifndef LINIMO_MAGLEV_RULES_PROTOCOLS_H
#define LINIMO_MAGLEV_RULES_PROTOCOLS_H

#include "maglev/rules/bytes.h"

enum linimo_protocol { /* IANA: protocol numbers */
                       LINIMO_HOP_BY_HOP = 0,
                       LINIMO_ICMP = 1,
                       LINIMO_IPIP = 4,
                       LINIMO_TCP = 6,
                       LINIMO_UDP = 17,
                       LINIMO_IPV6 = 41,
                       LINIMO_ROUTING = 43,
                       LINIMO_FRAGMENT = 44,
                       LINIMO_GRE = 47,
                       LINIMO_ICMPV6 = 58,
                       LINIMO_DESTINATION_OPTIONS = 60,
};

/* Bytes of headers; of IPv4 and TCP without options, of GRE (RFC 2784) without checksum. */
#define LINIMO_IPV4_HEADER 20u
#define LINIMO_IPV6_HEADER 40u
#define LINIMO_TCP_HEADER 20u
#define LINIMO_UDP_HEADER 8u
#define LINIMO_GRE_HEADER 4u

#define LINIMO_TYPE_IPV4 LINIMO_SWAP16(0x0800)
#define LINIMO_TYPE_ARP LINIMO_SWAP16(0x0806)
#define LINIMO_TYPE_VLAN LINIMO_SWAP16(0x8100)
#define LINIMO_TYPE_IPV6 LINIMO_SWAP16(0x86dd)
#define LINIMO_TYPE_QINQ LINIMO_SWAP16(0x88a8)
#define LINIMO_TYPE_LLDP LINIMO_SWAP16(0x88cc)

/* Flags and offset of an IPv4 header. */
#define LINIMO_DONT_FRAGMENT LINIMO_SWAP16(0x4000)
#define LINIMO_MORE_OR_OFFSET LINIMO_SWAP16(0x3fff)
#define LINIMO_OFFSET LINIMO_SWAP16(0x1fff)
/* And of an IPv6 Fragment header. */
#define LINIMO_MORE_OR_OFFSET6 LINIMO_SWAP16(0xfff9)
#define LINIMO_OFFSET6 LINIMO_SWAP16(0xfff8)

enum linimo_tcp_flag { LINIMO_FIN = 0x01, LINIMO_SYN = 0x02, LINIMO_RST = 0x04, LINIMO_ACK = 0x10 };

/* The first segment of a connection: SYN alone. */
LINIMO_RULE int linimo_begins_connection(__u8 tcp_flags) {
  return (tcp_flags & (LINIMO_FIN | LINIMO_SYN | LINIMO_RST | LINIMO_ACK)) == LINIMO_SYN;
}

/* A tag that may stand before an EtherType: IEEE 802.1Q, 802.1ad. */
LINIMO_RULE int linimo_is_tag(__u16 type) {
  return type == LINIMO_TYPE_VLAN || type == LINIMO_TYPE_QINQ;
}

/* In what the addressed station differs from this one: not zero, if it does. */
LINIMO_RULE __u64 linimo_not_addressed_to(__u64 first_bytes, __u64 mac) {
  return (first_bytes ^ mac) << 16;
}

/* Is a frame for this station alone? Not another's, nor a group's: RFC 1812, 5.3.4. `first_bytes`: the
 * frame's first eight; `mac`: the station's address, likewise. */
LINIMO_RULE int linimo_is_addressed_to(__u64 first_bytes, __u64 mac) {
  return linimo_not_addressed_to(first_bytes, mac) == 0;
}

#endif
