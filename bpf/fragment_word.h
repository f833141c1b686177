/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * One entry of the fragment memory: what the first fragment of a datagram chose. Plain C, because the program
 * writes what the process reads too.
 *
 *   63           44 43            26 25         14 13     13 12        0
 *   | fingerprint  | backend id     | service id  | written | stamp     |
 *
 * The stamp counts units of 2^26 ns (67 ms) of the monotonic clock. It comes round after nine minutes, when a
 * forgotten entry would speak for two seconds again. A datagram of the same fingerprint that meets it goes,
 * in all its parts, to the backend that it names: as harmless as unlikely.
 */
#ifndef LINIMO_BPF_FRAGMENT_WORD_H
#define LINIMO_BPF_FRAGMENT_WORD_H

#include <linux/types.h>

#define LINIMO_FRAGMENT_BUCKET_BITS 10
#define LINIMO_FRAGMENT_BUCKETS (1u << LINIMO_FRAGMENT_BUCKET_BITS) /* of each row; cells of eight words */
#define LINIMO_FRAGMENT_LIFE 30u                                    /* in units of the stamp: 2 s */
#define LINIMO_FRAGMENT_STAMPS 0x1fffu

/* Cell of a datagram's bucket among those of its row. `hash`: of its key, see abi.h. */
static inline __u32 linimo_fragment_bucket(__u64 hash) {
  return (__u32)(hash >> (64 - LINIMO_FRAGMENT_BUCKET_BITS));
}

static inline __u64 linimo_fragment_fingerprint(__u64 hash) {
  return hash << LINIMO_FRAGMENT_BUCKET_BITS >> 44 << 44;
}

static inline __u64 linimo_fragment_word(__u64 hash, __u32 backend_id, __u32 service_id, __u64 now_ns) {
  return linimo_fragment_fingerprint(hash) | (__u64)backend_id << 26 | (__u64)service_id << 14 | 1u << 13 |
         (now_ns >> 26 & LINIMO_FRAGMENT_STAMPS);
}

/* Units since it was written; more than LINIMO_FRAGMENT_LIFE where nothing was. */
static inline __u32 linimo_fragment_age(__u64 word, __u64 now_ns) {
  if ((word >> 13 & 1) == 0) return LINIMO_FRAGMENT_STAMPS + 1;
  return (__u32)((now_ns >> 26) - word) & LINIMO_FRAGMENT_STAMPS;
}

static inline __u32 linimo_fragment_backend(__u64 word) {
  return (__u32)(word >> 26) & 0x3ffff;
}
static inline __u32 linimo_fragment_service(__u64 word) {
  return (__u32)(word >> 14) & 0xfff;
}

/* The live entry of a datagram in its bucket, or 0. */
static inline __u64 linimo_fragment_in(const __u64* bucket, __u64 hash, __u64 now_ns) {
  for (int i = 0; i < 8; ++i) {
    const __u64 word = *(const volatile __u64*)&bucket[i];
    if (word >> 44 == linimo_fragment_fingerprint(hash) >> 44 &&
        linimo_fragment_age(word, now_ns) <= LINIMO_FRAGMENT_LIFE) {
      return word;
    }
  }
  return 0;
}

#endif
