/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * XXH3-64 of a flow's key, bit for bit as libxxhash computes it with a seed (maglev/hash.h). For keys of 16
 * and of 40 bytes the algorithm mixes the input with words of its secret, to which the seed is added or from
 * which it is taken: words that do not vary, so the process computes them once per generation
 * (linimo_xdp_head).
 */
#ifndef LINIMO_BPF_HASH_H
#define LINIMO_BPF_HASH_H

#include "layout.h"
#include "maglev/rules/flow_hash.h"
#include "maglev/rules/multiply.h"
#include "packet.h"

#define LINIMO_PRIME64_1 0x9e3779b185ebca87ULL
#define LINIMO_PRIME_MX1 0x165667919e3779f9ULL

/* The halves of the product, folded. */
static __always_inline __u64 multiply_fold(__u64 a, __u64 b) {
  __u64 low;
  const __u64 high = linimo_multiply(a, b, &low);
  return high ^ low;
}

static __always_inline __u64 avalanche(__u64 hash) {
  hash ^= hash >> 37;
  hash *= LINIMO_PRIME_MX1;
  return hash ^ hash >> 32;
}

static __always_inline __u64 hash_key4(const struct linimo_xdp_head* head, const __u64 words[2]) {
  const __u64 low = words[0] ^ head->key4_mix[0];
  const __u64 high = words[1] ^ head->key4_mix[1];
  return avalanche(16 + __builtin_bswap64(low) + high + multiply_fold(low, high));
}

static __always_inline __u64 hash_key6(const struct linimo_xdp_head* head, const __u64 words[5]) {
  const __u64* mix = head->key6_mix;
  __u64 sum = 40 * LINIMO_PRIME64_1;
  sum += multiply_fold(words[2] ^ mix[4], words[3] ^ mix[5]);
  sum += multiply_fold(words[1] ^ mix[6], words[2] ^ mix[7]);
  sum += multiply_fold(words[0] ^ mix[0], words[1] ^ mix[1]);
  sum += multiply_fold(words[3] ^ mix[2], words[4] ^ mix[3]);
  return avalanche(sum);
}

struct flow_key {
  struct words source, destination;
  __be16 source_port, destination_port;
  __u8 protocol;
};

/* `end`: linimo_key_end() and the like. */
static __always_inline __u64 hash_addresses(const struct linimo_xdp_head* head, const struct words* source,
                                            const struct words* destination, __u64 end, int v6) {
  if (v6) {
    const __u64 words[5] = {source->high, source->low, destination->high, destination->low, end};
    return hash_key6(head, words);
  }
  const __u64 words[2] = {source->low >> 32 | destination->low >> 32 << 32, end};
  return hash_key4(head, words);
}

#endif
