/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Connection tracking: the table of dataplane/flow/connection_table.h, entry for entry and rule for rule, in
 * an array map of buckets that belongs to a receive queue.
 *
 * A queue's packets may move from one CPU to another and the process sweeps expired entries meanwhile, so
 * each change of a word is a compare-and-swap; whoever loses it leaves the word to the winner.
 */
#ifndef LINIMO_BPF_CONNECTIONS_H
#define LINIMO_BPF_CONNECTIONS_H

#include "tables.h"

/* | fingerprint 20 | backend id 18 | service id 12 | stamp 12 | state 2 | */
enum {
  kStampShift = 2,
  kServiceShift = 14,
  kBackendShift = 26,
  kFingerprintShift = 44,
  kStateMask = 3,
  kStampMask = 0xfff,
  kServiceMask = 0xfff,
  kBackendMask = 0x3ffff,
  kNearlyFull = 6,
  kYoungTicks = 3,
  kClosingTicks = 56, /* 60 s */
};
enum { kEmpty, kEmbryonic, kEstablished, kClosing };
#define LINIMO_FLOW_MASK (~0ULL << kFingerprintShift | (__u64)kServiceMask << kServiceShift)

struct places {
  __u32 first, second; /* buckets */
  __u64 flow;          /* fingerprint and service id, in place */
};

static __always_inline struct places places_of(__u64 hash, __u32 service_id) {
  const __u64 count = bucket_count;
  const __u64 scaled = (hash >> 32) * count + ((hash & 0xffffffff) * count >> 32); /* hash * count / 2^32 */
  const __u64 fingerprint = (scaled & 0xffffffff) >> (kFingerprintShift - 32);
  const __u64 spread = fingerprint * 0x9e3779b97f4a7c15ULL >> 32;
  const __u64 first = scaled >> 32;
  const __u64 second = first + 1 + (spread * (count - 1) >> 32);
  const struct places places = {first, second < count ? second : second - count,
                                fingerprint << kFingerprintShift | (__u64)service_id << kServiceShift};
  return places;
}

static __always_inline __u32 age_of(__u64 word, __u32 now) {
  return (now - (__u32)(word >> kStampShift)) & kStampMask;
}

static __always_inline int is_expired(__u64 word, __u32 timeout, __u32 now) {
  const __u32 limit = (word & kStateMask) == kClosing && timeout > kClosingTicks ? kClosingTicks : timeout;
  return age_of(word, now) > limit;
}

/* Entries are only ever read whole, since others may change them. */
static __always_inline __u64 entry_at(const struct linimo_cell* bucket, __u32 place) {
  return *(const volatile __u64*)&bucket->words[place];
}

static __always_inline __u64 entry_in(const struct linimo_cell* bucket, __u64 flow) {
  for (__u32 i = 0; bucket && i < LINIMO_BUCKET_ENTRIES; ++i) {
    const __u64 word = entry_at(bucket, i);
    if (((word ^ flow) & LINIMO_FLOW_MASK) == 0 && (word & kStateMask) != kEmpty) return word;
  }
  return 0;
}

/* The entry of a flow in a row's table, expired or not; 0: it has none. Global, as what follows: the verifier
 * then sees it once. */
__noinline __u64 find_flow(__u32 row, __u64 hash, __u32 service_id) {
  void* table = bpf_map_lookup_elem(&connections, &row);
  if (!table) return 0;
  const struct places at = places_of(hash, service_id);
  const __u64 word = entry_in(cell(table, at.first), at.flow);
  return word != 0 ? word : entry_in(cell(table, at.second), at.flow);
}

struct row_search {
  __u64 hash, word;
  __u32 service_id, timeout, now;
};

static long find_in_row(__u32 row, struct row_search* search) {
  const __u64 word = find_flow(row, search->hash, search->service_id);
  if (word == 0 || is_expired(word, search->timeout, search->now)) return 0;
  search->word = word;
  return 1;
}

/* The live entry of a flow in its row's table or, since what asks may have arrived on another queue, in any.
 */
static __noinline __u64 find_flow_anywhere(__u32 row, __u64 hash, __u32 service_id, __u32 timeout) {
  struct row_search search = {hash, 0, service_id, timeout, ticks_now()};
  if (find_in_row(row, &search) == 0) bpf_loop(row_count, find_in_row, &search, 0);
  return search.word;
}

static __always_inline __u32 backend_of(__u64 word) {
  return word >> kBackendShift & kBackendMask;
}

/* Of a row: how many of a backend's connections are open, which is until their FIN. */
static __always_inline __u32* connections_of(__u32* key, __u32 row, __u32 backend_id) {
  *key = row * LINIMO_CONNECTION_CELLS + backend_id / 16;
  struct linimo_cell* sixteen = bpf_map_lookup_elem(&open_connections, key);
  return sixteen ? &((__u32*)sixteen)[backend_id % 16] : 0;
}

static __always_inline const __u32* open_connections_of(__u32 row, __u32 backend_id) {
  __u32 key = 0;
  return connections_of(&key, row, backend_id);
}

static __always_inline int is_open(__u64 word) {
  return (word & kStateMask) == kEmbryonic || (word & kStateMask) == kEstablished;
}

/* A word has taken another's place. `key`: memory for one, the caller's stack being short. */
static __always_inline void count_connections(__u32* key, __u32 row, __u64 before, __u64 after) {
  const int same = backend_of(before) == backend_of(after);
  if (is_open(before) == is_open(after) && (same || !is_open(after))) return;
  __u32* left = is_open(before) ? connections_of(key, row, backend_of(before)) : 0;
  __u32* joined = is_open(after) ? connections_of(key, row, backend_of(after)) : 0;
  if (left) __sync_fetch_and_add(left, -1);
  if (joined) __sync_fetch_and_add(joined, 1);
}

static __always_inline int replace_in(struct linimo_cell* bucket, __u64 seen, __u64 word) {
  for (__u32 i = 0; bucket && i < LINIMO_BUCKET_ENTRIES; ++i) {
    if (entry_at(bucket, i) == seen)
      return __sync_val_compare_and_swap(&bucket->words[i], seen, word) == seen;
  }
  return 0;
}

/* Puts a word in the place of what find_flow() found, unless that has changed. */
__noinline int replace_flow(__u32 row, __u64 hash, __u32 service_id, __u64 seen, __u64 word) {
  void* table = bpf_map_lookup_elem(&connections, &row);
  if (!table) return 0;
  const struct places at = places_of(hash, service_id);
  if (!replace_in(cell(table, at.first), seen, word) && !replace_in(cell(table, at.second), seen, word))
    return 0;
  __u32 key = 0;
  count_connections(&key, row, seen, word);
  return 1;
}

static __always_inline __u64 with_backend(__u64 word, __u32 backend_id) {
  return (word & ~((__u64)kBackendMask << kBackendShift)) | (__u64)backend_id << kBackendShift;
}

/* Whether a SYN may be another connection's, from the port of one that has ended: connection_table.h says why
 * so. */
static __always_inline int may_have_ended(__u64 word, __u32 now) {
  return (word & kStateMask) == kClosing || age_of(word, now) >= kYoungTicks;
}

/* The entry once a packet followed it: another at most once a tick, or when the state changes. A SYN on one
 * that is closing opens it again. */
static __always_inline __u64 touched(__u64 word, __u8 tcp_flags, __u32 now) {
  const __u64 state = word & kStateMask;
  const __u64 next = tcp_flags & kTcpFin                                 ? kClosing
                     : state == kClosing && begins_connection(tcp_flags) ? kEmbryonic
                     : state == kEmbryonic && age_of(word, now) != 0     ? kEstablished
                                                                         : state;
  return (word & ~((__u64)kStampMask << kStampShift | kStateMask)) |
         (__u64)(now & kStampMask) << kStampShift | next;
}

static __always_inline void entry_gone(struct linimo_xdp_flows* row, __u32 service) {
  __sync_fetch_and_add(&row->entries, -1);
  if (__sync_fetch_and_add(&row->of_service[service & kServiceMask], -1) == 1)
    __sync_fetch_and_add(&row->services_holding, -1);
}

static __always_inline void entry_made(struct linimo_xdp_flows* row, __u32 service) {
  __sync_fetch_and_add(&row->entries, 1);
  if (__sync_fetch_and_add(&row->of_service[service & kServiceMask], 1) == 0)
    __sync_fetch_and_add(&row->services_holding, 1);
}

/* Takes a flow's entry out: an expired one gives its place up before the flow gets another, for there must
 * never be two. */
__noinline int clear_flow(__u32 row, __u64 hash, __u32 service_id, __u64 seen) {
  struct linimo_xdp_flows* counts = bpf_map_lookup_elem(&flows, &row);
  if (!counts || !replace_flow(row, hash, service_id, seen, 0)) return 0;
  entry_gone(counts, service_id);
  return 1;
}

/* What is to be stored. */
struct wanted_flow {
  __u64 hash;
  __u32 row, service_id, backend_id, timeout, now;
  __u32 reserved;
};

/* Places in use, and in the bits above kPlaceShift the first that is not. */
enum { kPlaceShift = 8 };
__noinline __u32 used_in(const struct linimo_cell* bucket) {
  if (!bucket) return LINIMO_BUCKET_ENTRIES;
  __u32 used = 0, empty = 0;
  for (int i = LINIMO_BUCKET_ENTRIES - 1; i >= 0; --i) {
    if ((entry_at(bucket, i) & kStateMask) == kEmpty)
      empty = i;
    else
      ++used;
  }
  return used | empty << kPlaceShift;
}

/* The lowest of 64-bit numbers below 2^63, without a branch that nobody could predict. */
static __always_inline __u64 lower(__u64 a, __u64 b) {
  __u64 difference = a - b;
  asm volatile("" : "+r"(difference));
  return b + (difference & -(difference >> 63));
}

/* The best entry to give up its place has the lowest rank: kind (0 expired, 1 own, 2 of a service above its
 * share, 3 not to be taken), embryonic first, oldest first; then the place. The rules are
 * connection_table.cc's. */
enum { kRankKind = 32, kRankOld = 20, kRankAge = 8, kRankSecond = 3, kRankEmbryonic = 63 };
#define LINIMO_NOBODY (3ULL << kRankKind)

/* The lowest rank in a bucket; its highest bit: the service itself has embryonic entries there. */
__noinline __u64 rank_bucket(const struct linimo_cell* bucket, const struct linimo_xdp_flows* row,
                             const struct wanted_flow* want) {
  if (!bucket || !row || !want) return LINIMO_NOBODY;
  const __u64 capacity = (__u64)bucket_count * LINIMO_BUCKET_ENTRIES;
  const __u32 timeout = want->timeout, now = want->now, service_id = want->service_id;
  __u64 best = LINIMO_NOBODY, own_embryonic = 0;
  asm volatile("" : "+r"(best));
  for (__u32 i = 0; i < LINIMO_BUCKET_ENTRIES; ++i) {
    const __u64 word = entry_at(bucket, i);
    const __u32 owner = word >> kServiceShift & kServiceMask;
    const __u32 age = age_of(word, now);
    const __u64 embryonic = (word & kStateMask) == kEmbryonic;
    __u64 kind = 0;
    if (owner == service_id) {
      own_embryonic |= embryonic;
      if (!is_expired(word, timeout, now)) {
        if (age < kYoungTicks) continue;
        kind = 1;
      }
    } else {
      if (age < kYoungTicks) continue;
      const __u64 holding = row->services_holding + (row->of_service[service_id & kServiceMask] == 0);
      if (row->of_service[owner] * holding <= capacity) continue;
      kind = 2;
    }
    const __u64 rank =
        kind << kRankKind | (1 ^ embryonic) << kRankOld | (__u64)(kStampMask - age) << kRankAge | i;
    best = lower(rank, best);
  }
  return best | own_embryonic << kRankEmbryonic;
}

/* Makes an embryonic entry. 0: there was no place that the flow may take. */
__noinline int insert_flow(const struct wanted_flow* want) {
  if (!want) return 0;
  __u32 key = want->row;
  void* table = bpf_map_lookup_elem(&connections, &key);
  struct linimo_xdp_flows* row = bpf_map_lookup_elem(&flows, &key);
  if (!table || !row) return 0;
  const struct places at = places_of(want->hash, want->service_id);
  // One key for all look-ups: Linux 6.1 gives this chain of calls no more than 512 bytes of stack together.
  key = at.first;
  struct linimo_cell* first = bpf_map_lookup_elem(table, &key);
  key = at.second;
  struct linimo_cell* second = bpf_map_lookup_elem(table, &key);
  if (!first || !second) return 0;
  const __u64 made = at.flow | (__u64)want->backend_id << kBackendShift |
                     (__u64)(want->now & kStampMask) << kStampShift | kEmbryonic;

  struct linimo_cell* bucket = first;
  __u32 used = used_in(first);
  if ((__u8)used >= kNearlyFull) {
    const __u32 used_second = used_in(second);
    if ((__u8)used_second < (__u8)used) {
      used = used_second;
      bucket = second;
    }
  }
  if ((__u8)used < LINIMO_BUCKET_ENTRIES) {
    __u64* place = &bucket->words[used >> kPlaceShift & 7];
    if (__sync_val_compare_and_swap(place, 0, made) != 0) return 0;
    count_connections(&key, want->row, 0, made);
    entry_made(row, want->service_id);
    return 1;
  }

  const __u64 best_first = rank_bucket(first, row, want);
  const __u64 best_second = rank_bucket(second, row, want) | 1 << kRankSecond;
  const __u64 own_embryonic = (best_first | best_second) >> kRankEmbryonic;
  const __u64 best = lower(best_first & ~(1ULL << kRankEmbryonic), best_second & ~(1ULL << kRankEmbryonic));
  if (best >> kRankKind >= 3) return 0;
  // Embryonic entries too young to go are a flood's: an established flow does not make room for that.
  if (own_embryonic && (best >> kRankOld & 1) && best >> kRankKind == 1) return 0;
  bucket = best >> kRankSecond & 1 ? second : first;
  const __u64 word = entry_at(bucket, best & 7);
  if (__sync_val_compare_and_swap(&bucket->words[best & 7], word, made) != word) return 0;
  count_connections(&key, want->row, word, made);
  const __u32 owner = word >> kServiceShift & kServiceMask;
  if (owner != want->service_id) {
    entry_gone(row, owner);
    entry_made(row, want->service_id);
  }
  return 1;
}

#endif
