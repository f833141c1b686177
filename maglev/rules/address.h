/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Addresses and prefixes as two words that lie in memory as on the wire; IPv4 in its mapped form (RFC
 * 4291, 2.5.5.2).
 */
#ifndef LINIMO_MAGLEV_RULES_ADDRESS_H
#define LINIMO_MAGLEV_RULES_ADDRESS_H

#include "maglev/rules/bytes.h"

#define LINIMO_V4_LOW(address) ((__u64)(address) << 32 | 0xffff0000) /* the high word is 0 */

LINIMO_RULE int linimo_is_v4(__u64 high, __u64 low) {
  return high == 0 && (__u32)low == 0xffff0000;
}

/* Of a prefix of so many bits of the 128: what it leaves of the first word, and of the last. */
LINIMO_RULE __u64 linimo_word_mask(__u32 bits) {
  return bits == 0 ? 0 : bits >= 64 ? ~0ULL : LINIMO_SWAP64(~(~0ULL >> bits));
}
LINIMO_RULE __u64 linimo_high_mask(__u32 bits) {
  return linimo_word_mask(bits > 64 ? 64 : bits);
}
LINIMO_RULE __u64 linimo_low_mask(__u32 bits) {
  return linimo_word_mask(bits > 64 ? bits - 64 : 0);
}

/* An address, mixed: its highest bits depend on all of it. */
LINIMO_RULE __u64 linimo_mix_address(__u64 high, __u64 low) {
  return low * LINIMO_GOLDEN_RATIO + high * 0xc2b2ae3d27d4eb4fULL;
}

/* A prefix' place in a hash of VIPs: its low bits. Mixed twice, so that neighbours, which differ in the last
 * byte and so in the highest bits, come to lie apart. */
LINIMO_RULE __u64 linimo_place_of_vip(__u64 high, __u64 low, __u32 bits) {
  __u64 mixed = (low ^ bits) * LINIMO_GOLDEN_RATIO ^ high * 0xc2b2ae3d27d4eb4fULL;
  mixed = (mixed ^ mixed >> 32) * LINIMO_GOLDEN_RATIO;
  return mixed >> 32;
}

#endif
