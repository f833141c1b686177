/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Is a packet to a VIP well formed, and what is it? Each rule judges one header, by the fields that its
 * caller has read; the callers put the answers together: dataplane/packet/parse.cc and bpf/packet.h.
 * dataplane/packet/plain.h recognizes most packets in one go, and says yes to none that these refuse.
 */
#ifndef LINIMO_MAGLEV_RULES_JUDGE_H
#define LINIMO_MAGLEV_RULES_JUDGE_H

#include "maglev/rules/protocols.h"

enum linimo_verdict {
  LINIMO_VERDICT_FLOW,           /* TCP or UDP, well formed */
  LINIMO_VERDICT_OTHER,          /* another protocol: no service can have it */
  LINIMO_VERDICT_ICMP,           /* ICMP or ICMPv6, fragments of it among them */
  LINIMO_VERDICT_LATER_FRAGMENT, /* TCP or UDP for all that one can know, without ports */
  LINIMO_VERDICT_MALFORMED,
  LINIMO_VERDICT_BAD_CHECKSUM, /* of the IPv4 header */
  LINIMO_VERDICT_MARTIAN,      /* a source that nobody may have: martian.h */
};

enum linimo_fragment_kind { LINIMO_WHOLE, LINIMO_FIRST_FRAGMENT, LINIMO_LATER_FRAGMENT };

/* An IPv4 header's lengths: `header` as its IHL says, `total` of the packet as it says, `available` bytes up
 * to the frame's end. */
LINIMO_RULE int linimo_is_sound_ipv4(__u32 version, __u32 header, __u32 total, __u32 available) {
  return version == 4 && header >= LINIMO_IPV4_HEADER && total >= header && total <= available;
}

/* `total`: with the header. No packet is longer than IPv4's could be. */
LINIMO_RULE int linimo_is_sound_ipv6(__u32 version, __u32 total, __u32 available) {
  return version == 6 && total <= available && total <= 0xffff;
}

/* `flags_offset`: of an IPv4 header, as it lies in memory. */
LINIMO_RULE enum linimo_fragment_kind linimo_fragment_kind4(__u16 flags_offset) {
  if ((flags_offset & LINIMO_MORE_OR_OFFSET) == 0) return LINIMO_WHOLE;
  return flags_offset & LINIMO_OFFSET ? LINIMO_LATER_FRAGMENT : LINIMO_FIRST_FRAGMENT;
}

/* Of an IPv6 Fragment header. One that is whole (RFC 6946) is no fragment. */
LINIMO_RULE enum linimo_fragment_kind linimo_fragment_kind6(__u16 flags_offset) {
  if ((flags_offset & LINIMO_MORE_OR_OFFSET6) == 0) return LINIMO_WHOLE;
  return flags_offset & LINIMO_OFFSET6 ? LINIMO_LATER_FRAGMENT : LINIMO_FIRST_FRAGMENT;
}

/* What a packet is, by the protocol behind its IP headers. FLOW: its transport header is to be judged. */
LINIMO_RULE enum linimo_verdict linimo_judge_protocol(int v6, __u8 protocol,
                                                      enum linimo_fragment_kind fragment) {
  if (protocol == (v6 ? LINIMO_ICMPV6 : LINIMO_ICMP)) return LINIMO_VERDICT_ICMP;
  if (protocol != LINIMO_TCP && protocol != LINIMO_UDP) return LINIMO_VERDICT_OTHER;
  return fragment == LINIMO_LATER_FRAGMENT ? LINIMO_VERDICT_LATER_FRAGMENT : LINIMO_VERDICT_FLOW;
}

/* A TCP header (RFC 9293): `header` as its data offset says, `length` of the IP payload. */
LINIMO_RULE int linimo_is_sound_tcp(__u32 header, __u32 length) {
  return header >= LINIMO_TCP_HEADER && header <= length;
}

/* A UDP header (RFC 768): what it says of its length. A first fragment carries the length of the whole
 * datagram. */
LINIMO_RULE int linimo_is_sound_udp(__u32 said, __u32 length, enum linimo_fragment_kind fragment) {
  return said >= LINIMO_UDP_HEADER && (said <= length || fragment != LINIMO_WHOLE);
}

#endif
