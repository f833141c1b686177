/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Internet checksums (RFC 1071): sums of words in the byte order of memory, folded at the end.
 */
#ifndef LINIMO_MAGLEV_RULES_CHECKSUM_H
#define LINIMO_MAGLEV_RULES_CHECKSUM_H

#include "maglev/rules/protocols.h"

/* Halves are added with their carry coming round: by adding the sum turned about, and taking the upper half.
 */
LINIMO_RULE __u16 linimo_checksum_fold(__u64 sum) {
  sum += sum << 32 | sum >> 32;
  __u32 half = (__u32)(sum >> 32);
  half += half << 16 | half >> 16;
  return (__u16)(half >> 16);
}

/* The value of a checksum field over a sum in which that field is zero. */
LINIMO_RULE __u16 linimo_checksum_finish(__u64 sum) {
  return (__u16)~linimo_checksum_fold(sum);
}

/* Of a field where 0 says that there is no checksum: UDP over IPv6 must have one (RFC 8200, 8.1). For all but
 * data of zeroes alone 0xffff is as right as 0. */
LINIMO_RULE __u16 linimo_checksum_never_zero(__u16 checksum) {
  return checksum == 0 ? 0xffff : checksum;
}

/* A checksum after 16 bits under it changed (RFC 1624). */
LINIMO_RULE __u16 linimo_checksum_changed(__u16 checksum, __u16 before, __u16 after) {
  return linimo_checksum_finish((__u64)(__u16)~checksum + (__u16)~before + after);
}

/* What a pseudo header has beside the addresses (RFC 9293, RFC 8200, 8.1): `length` up to 65535. */
LINIMO_RULE __u64 linimo_checksum_pseudo(__u8 protocol, __u32 length) {
  return ((__u64)protocol << 8) + LINIMO_SWAP16(length);
}

/* Does the packet's own checksum cover all that lies behind its IP headers? Then that payload's sum is known
 * without reading it: with the checksum in it, and its pseudo header's, it is all ones (local checksum
 * offload). Not of a fragment, nor of what a routing header takes elsewhere. `udp`: checksum, and length as
 * it is said. */
LINIMO_RULE int linimo_checksum_covers(__u8 protocol, int is_fragment, int on_its_way, __u16 udp_checksum,
                                       __u32 udp_said, __u32 length) {
  if (is_fragment || on_its_way) return 0;
  if (protocol == LINIMO_TCP) return 1;
  return protocol == LINIMO_UDP && udp_checksum != 0 && udp_said == length;
}

#endif
