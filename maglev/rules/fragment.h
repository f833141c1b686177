/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What is remembered of a datagram whose first fragment was sent to a backend (RFC 791; RFC 8200, 4.5), and
 * for how long. Only the first has ports: the others, which share source, destination, protocol and
 * identification with it, follow it. A bucket is one cache line of eight entries, an entry one aligned 64-bit
 * word:
 *
 *   63           44 43            26 25         14 13     13 12        0
 *   | fingerprint  | backend id     | service id  | written | stamp     |
 *       20 bits        18 bits          12 bits      1 bit     13 bits
 *
 * The fingerprint is of the keyed hash of the datagram: one that has no entry is taken for another with
 * probability at most 8 * 2^-20, and then goes to a wrong backend, which drops it for want of the other
 * fragments. A full bucket loses its oldest entry: a flood of datagrams ends others' lives early, and costs
 * nothing else.
 *
 * The stamp counts units of 2^26 ns (67 ms) of a monotonic clock. It comes round after nine minutes, when a
 * forgotten entry would speak for some seconds again. A datagram of the same fingerprint that meets it goes,
 * in all its parts, to the backend that it names: as harmless as unlikely, so that nobody clears what is
 * over.
 */
#ifndef LINIMO_MAGLEV_RULES_FRAGMENT_H
#define LINIMO_MAGLEV_RULES_FRAGMENT_H

#include "maglev/abi.h"
#include "maglev/rules/rule.h"

#define LINIMO_FRAGMENT_BUCKET_BITS 11
#define LINIMO_FRAGMENT_BUCKETS (1u << LINIMO_FRAGMENT_BUCKET_BITS) /* of each worker, or row */
#define LINIMO_FRAGMENT_PLACES 8u                                   /* of each bucket */
#define LINIMO_FRAGMENT_LIFE_MS 2000u
#define LINIMO_FRAGMENT_SKEW_MS 1000u /* by which another worker's entry may seem to come from the future */

#define LINIMO_FRAGMENT_UNIT_SHIFT 26
/* At least so many milliseconds. */
#define LINIMO_FRAGMENT_UNITS(ms) ((__u32)((ms)*1000000ULL >> LINIMO_FRAGMENT_UNIT_SHIFT) + 1u)
#define LINIMO_FRAGMENT_STAMPS 0x1fffu
#define LINIMO_FRAGMENT_WRITTEN 0x2000u

#define LINIMO_FRAGMENT_SERVICE_SHIFT 14
#define LINIMO_FRAGMENT_BACKEND_SHIFT 26
#define LINIMO_FRAGMENT_FINGERPRINT_SHIFT 44

/* A datagram's bucket. `hash`: of its key, linimo_datagram_ports() and so on. */
LINIMO_RULE __u32 linimo_fragment_bucket(__u64 hash) {
  return (__u32)(hash >> (64 - LINIMO_FRAGMENT_BUCKET_BITS));
}

LINIMO_RULE int linimo_fragment_matches(__u64 word, __u64 hash) {
  return word >> LINIMO_FRAGMENT_FINGERPRINT_SHIFT ==
             hash << LINIMO_FRAGMENT_BUCKET_BITS >> LINIMO_FRAGMENT_FINGERPRINT_SHIFT &&
         (word & LINIMO_FRAGMENT_WRITTEN) != 0;
}

LINIMO_RULE __u64 linimo_fragment_word(__u64 hash, __u32 backend_id, __u32 service_id, __u64 now_ns) {
  return hash << LINIMO_FRAGMENT_BUCKET_BITS >> LINIMO_FRAGMENT_FINGERPRINT_SHIFT
                                                    << LINIMO_FRAGMENT_FINGERPRINT_SHIFT |
         (__u64)backend_id << LINIMO_FRAGMENT_BACKEND_SHIFT |
         (__u64)service_id << LINIMO_FRAGMENT_SERVICE_SHIFT | LINIMO_FRAGMENT_WRITTEN |
         (now_ns >> LINIMO_FRAGMENT_UNIT_SHIFT & LINIMO_FRAGMENT_STAMPS);
}

/* Units since it was written, or more than any where nothing was. */
LINIMO_RULE __u32 linimo_fragment_age(__u64 word, __u64 now_ns) {
  const __u32 age = (__u32)((now_ns >> LINIMO_FRAGMENT_UNIT_SHIFT) - word) & LINIMO_FRAGMENT_STAMPS;
  if ((word & LINIMO_FRAGMENT_WRITTEN) == 0) return LINIMO_FRAGMENT_STAMPS + 1;
  return age > LINIMO_FRAGMENT_STAMPS - LINIMO_FRAGMENT_UNITS(LINIMO_FRAGMENT_SKEW_MS) ? 0 : age;
}

LINIMO_RULE int linimo_fragment_is_over(__u64 word, __u64 now_ns) {
  return linimo_fragment_age(word, now_ns) > LINIMO_FRAGMENT_UNITS(LINIMO_FRAGMENT_LIFE_MS);
}

/* The entry as if it had been written so many units earlier. */
LINIMO_RULE __u64 linimo_fragment_aged(__u64 word, __u32 units) {
  return (word & ~(__u64)LINIMO_FRAGMENT_STAMPS) | ((word - units) & LINIMO_FRAGMENT_STAMPS);
}

LINIMO_RULE __u32 linimo_fragment_backend(__u64 word) {
  return (__u32)(word >> LINIMO_FRAGMENT_BACKEND_SHIFT) & (LINIMO_MAX_BACKEND_IDS - 1);
}
LINIMO_RULE __u32 linimo_fragment_service(__u64 word) {
  return (__u32)(word >> LINIMO_FRAGMENT_SERVICE_SHIFT) & (LINIMO_MAX_SERVICES - 1);
}

/* The place that suits a datagram best has the highest rank: its own, for there must never be two, then an
 * empty one, then the one longest written. */
LINIMO_RULE __u32 linimo_fragment_rank(__u64 word, __u64 hash, __u64 now_ns) {
  return linimo_fragment_matches(word, hash) ? ~0u : linimo_fragment_age(word, now_ns);
}

/* The live entry of a datagram in its bucket, or 0. Others may be writing there. */
LINIMO_RULE __u64 linimo_fragment_in(const volatile __u64* bucket, __u64 hash, __u64 now_ns) {
  for (__u32 i = 0; i < LINIMO_FRAGMENT_PLACES; ++i) {
    const __u64 word = bucket[i];
    if (linimo_fragment_matches(word, hash) && !linimo_fragment_is_over(word, now_ns)) return word;
  }
  return 0;
}

#endif
