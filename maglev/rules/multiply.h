/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The product of two 64-bit numbers in 128 bits. BPF multiplies 64 bits to 64, hence four products of 32.
 */
#ifndef LINIMO_MAGLEV_RULES_MULTIPLY_H
#define LINIMO_MAGLEV_RULES_MULTIPLY_H

#include "maglev/rules/rule.h"

/* The high half, and the low one. */
LINIMO_RULE __u64 linimo_multiply(__u64 a, __u64 b, __u64* low) {
#ifdef __bpf__
  const __u64 low_low = (a & 0xffffffff) * (b & 0xffffffff);
  const __u64 high_low = (a >> 32) * (b & 0xffffffff);
  const __u64 low_high = (a & 0xffffffff) * (b >> 32);
  const __u64 cross = (low_low >> 32) + (high_low & 0xffffffff) + low_high;
  *low = cross << 32 | (low_low & 0xffffffff);
  return (high_low >> 32) + (cross >> 32) + (a >> 32) * (b >> 32);
#else
  __extension__ typedef unsigned __int128 linimo_wide;
  const linimo_wide product = (linimo_wide)a * b;
  *low = (__u64)product;
  return (__u64)(product >> 64);
#endif
}

/* floor(fraction * whole / 2^64). */
LINIMO_RULE __u64 linimo_part_of(__u64 fraction, __u64 whole) {
  __u64 low;
  return linimo_multiply(fraction, whole, &low);
}

#endif
