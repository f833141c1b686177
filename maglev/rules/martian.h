/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Sources that nobody may have: RFC 1812, 5.3.7; RFC 4291, 2.5. Addresses as they lie in memory, of IPv6 the
 * first eight bytes and the last.
 */
#ifndef LINIMO_MAGLEV_RULES_MARTIAN_H
#define LINIMO_MAGLEV_RULES_MARTIAN_H

#include "maglev/rules/bytes.h"

/* This network, loopback, multicast, reserved, broadcast: the first byte says it. */
LINIMO_RULE int linimo_is_martian4(__u32 source) {
  const __u32 first = source & 0xff;
  return first == 0 || first == 127 || first >= 224;
}

/* What is no multicast address and does not begin with eight zeroes is none; nearly all do neither. */
LINIMO_RULE int linimo_may_be_martian6(__u64 high) {
  return high == 0 || (high & 0xff) == 0xff;
}

/* Multicast, unspecified, loopback, IPv4-mapped (never on the wire: RFC 4291, 2.5.5.2). */
LINIMO_RULE int linimo_is_martian6(__u64 high, __u64 low) {
  if ((high & 0xff) == 0xff) return 1;
  if (high != 0) return 0;
  const __u64 value = LINIMO_SWAP64(low);
  return value <= 1 || value >> 32 == 0xffff;
}

#endif
