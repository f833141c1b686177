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

/* What a look-up finds. */
struct tracked {
  __u64 word;   /* 0: nothing */
  __u32 bucket; /* where it lies */
  __u32 place;
};

/* What is looked for. */
struct wanted_flow {
  __u64 hash;
  __u32 row, service_id, timeout, now;
};

struct places {
  __u32 first, second; /* buckets */
  __u64 flow;          /* fingerprint and service id, in place */
};

static __always_inline __u32 ticks_now(void) {
  return bpf_ktime_get_coarse_ns() >> LINIMO_TICK_SHIFT;
}

static __always_inline struct places places_of(__u64 hash, __u32 service_id) {
  const __u32 shift = bucket_shift & 63;
  const __u64 first = hash >> shift;
  const __u64 fingerprint = hash << (64 - shift) >> kFingerprintShift;
  const __u64 second = (first ^ (fingerprint * 0x9e3779b97f4a7c15ULL >> 32 | 1)) & bucket_mask;
  const struct places places = {first, second,
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

/* 1 where the value is zero, without a branch: eight branches a bucket would cost the verifier eight times
 * the rest. */
static __always_inline __u32 is_zero(__u64 value) {
  __u64 negative = -value;
  asm volatile(""
               : "+r"(negative));  // or the compiler sees the comparison in it, and makes a branch after all
  return 1 ^ (__u32)((value | negative) >> 63);
}

/* The place of a flow's entry in a bucket, from 1; 0: it has none. */
static __always_inline __u32 find_in(const struct linimo_cell* bucket, __u64 flow) {
  __u32 place = 0;
  for (__u32 i = 0; i < LINIMO_BUCKET_ENTRIES; ++i) {
    const __u64 word = bucket->words[i];
    place |= (is_zero((word ^ flow) & LINIMO_FLOW_MASK) & (1 ^ is_zero(word & kStateMask))) * (i + 1);
  }
  return place;
}

/* The live entry of a flow in a row's table. Global, as what follows: the verifier then sees it once. */
__noinline int find_flow(const struct wanted_flow* want, struct tracked* found) {
  if (!want || !found) return 0;
  __u32 key = want->row;
  void* table = bpf_map_lookup_elem(&connections, &key);
  if (!table) return 0;
  const struct places at = places_of(want->hash, want->service_id);
  found->bucket = at.first;
  struct linimo_cell* bucket = cell(table, at.first);
  if (!bucket) return 0;
  __u32 place = find_in(bucket, at.flow);
  if (place == 0) {
    found->bucket = at.second;
    bucket = cell(table, at.second);
    if (!bucket) return 0;
    place = find_in(bucket, at.flow);
    if (place == 0) return 0;
  }
  found->place = (place - 1) & 7;
  const __u64 word = bucket->words[found->place & 7];
  if (((word ^ at.flow) & LINIMO_FLOW_MASK) != 0 || is_expired(word, want->timeout, want->now)) return 0;
  found->word = word;
  return 1;
}

struct row_search {
  struct wanted_flow want;
  struct tracked found;
  int hit;
};

static long find_in_row(__u32 row, struct row_search* search) {
  search->want.row = row;
  search->hit = find_flow(&search->want, &search->found);
  return search->hit != 0;
}

/* The live entry of a flow in its row's table or, since what asks may have arrived on another queue, in any.
 */
static __noinline int find_flow_anywhere(const struct wanted_flow* want, struct tracked* found) {
  if (find_flow(want, found)) return 1;
  struct row_search search = {.want = *want};
  bpf_loop(row_count, find_in_row, &search, 0);
  *found = search.found;
  return search.hit;
}

/* Puts a word in the place of what was found there, unless that has changed. */
__noinline int replace_flow(const struct tracked* found, __u32 row, __u64 word) {
  if (!found) return 0;
  void* table = bpf_map_lookup_elem(&connections, &row);
  if (!table) return 0;
  struct linimo_cell* bucket = cell(table, found->bucket);
  if (!bucket) return 0;
  return __sync_val_compare_and_swap(&bucket->words[found->place & 7], found->word, word) == found->word;
}

static __always_inline __u32 backend_of(const struct tracked* found) {
  return found->word >> kBackendShift & kBackendMask;
}

/* Notes that a packet followed the entry. Writes at most once a tick, or when the state changes. */
static __always_inline void touch(const struct tracked* found, __u32 row, int fin, __u32 now) {
  const __u32 age = age_of(found->word, now);
  const __u64 state = found->word & kStateMask;
  const __u64 next = fin ? kClosing : state == kEmbryonic && age != 0 ? kEstablished : state;
  if (age == 0 && next == state) return;
  replace_flow(found, row,
               (found->word & ~((__u64)kStampMask << kStampShift | kStateMask)) |
                   (__u64)(now & kStampMask) << kStampShift | next);
}

static __always_inline void redirect_flow(const struct tracked* found, __u32 row, __u32 backend_id) {
  replace_flow(found, row,
               (found->word & ~((__u64)kBackendMask << kBackendShift)) | (__u64)backend_id << kBackendShift);
}

static __always_inline void entry_gone(struct linimo_xdp_flows* row, __u64 word) {
  const __u32 service = word >> kServiceShift & kServiceMask;
  __sync_fetch_and_add(&row->entries, -1);
  if (__sync_fetch_and_add(&row->of_service[service], -1) == 1)
    __sync_fetch_and_add(&row->services_holding, -1);
}

static __always_inline void entry_made(struct linimo_xdp_flows* row, __u32 service) {
  __sync_fetch_and_add(&row->entries, 1);
  if (__sync_fetch_and_add(&row->of_service[service & kServiceMask], 1) == 0)
    __sync_fetch_and_add(&row->services_holding, 1);
}

static __always_inline __u32 used_in(const struct linimo_cell* bucket) {
  __u32 used = 0;
  for (__u32 i = 0; i < LINIMO_BUCKET_ENTRIES; ++i) used += 1 ^ is_zero(bucket->words[i] & kStateMask);
  return used;
}

/* 1 where a < b; both below 2^63. */
static __always_inline __u64 is_less(__u64 a, __u64 b) {
  __u64 difference = a - b;
  asm volatile("" : "+r"(difference));
  return difference >> 63;
}

/* The lowest rank in a bucket, or what was the lowest before: kind (0 expired, 1 own, 2 of a service above
 * its share, 3 not to be taken), embryonic first, oldest first; then the place. The rules are
 * connection_table.cc's. */
enum { kRankKind = 32, kRankOld = 20, kRankAge = 8, kRankSecond = 3 };
struct victim_search {
  const struct linimo_cell* bucket;
  const struct linimo_xdp_flows* row;
  __u64 share, best, second, own_embryonic;
  __u32 service_id, timeout, now;
};

static long rank_entry(__u32 i, struct victim_search* search) {
  const __u64 timeout = search->timeout;
  const __u64 shorter = timeout > kClosingTicks ? timeout - kClosingTicks : 0;
  const __u64 word = search->bucket->words[i % LINIMO_BUCKET_ENTRIES];
  const __u64 owner = word >> kServiceShift & kServiceMask;
  const __u64 age = age_of(word, search->now);
  const __u64 own = is_zero(owner ^ search->service_id);
  const __u64 embryonic = is_zero((word & kStateMask) ^ kEmbryonic);
  const __u64 limit = timeout - shorter * is_zero((word & kStateMask) ^ kClosing);
  const __u64 young = is_less(age, kYoungTicks);
  const __u64 above = is_less(search->share, search->row->of_service[owner & kServiceMask]);
  const __u64 kind_of_old = own + (1 ^ own) * (3 - above);
  const __u64 kind = (1 ^ (own & is_less(limit, age))) * (young * 3 + (1 ^ young) * kind_of_old);
  const __u64 rank = kind << kRankKind | (1 ^ embryonic) << kRankOld | (kStampMask - age) << kRankAge |
                     search->second << kRankSecond | i;
  search->best -= (search->best - rank) * is_less(rank, search->best);
  search->own_embryonic |= own & embryonic;
  return 0;
}

/* An expired entry of this very flow gives its place up first: there must never be two. */
static __always_inline void clear_stale(struct linimo_cell* bucket, __u64 flow,
                                        struct linimo_xdp_flows* row) {
  const __u32 place = find_in(bucket, flow);
  if (place == 0) return;
  __u64* entry = &bucket->words[(place - 1) & 7];
  const __u64 word = *entry;
  if (__sync_val_compare_and_swap(entry, word, 0) == word) entry_gone(row, word);
}

/* Makes an embryonic entry. 0: there was no place that the flow may take. */
__noinline int insert_flow(const struct wanted_flow* want, __u32 backend_id) {
  if (!want) return 0;
  __u32 key = want->row;
  void* table = bpf_map_lookup_elem(&connections, &key);
  struct linimo_xdp_flows* row = bpf_map_lookup_elem(&flows, &key);
  if (!table || !row) return 0;
  const struct places at = places_of(want->hash, want->service_id);
  struct linimo_cell* first = cell(table, at.first);
  struct linimo_cell* second = cell(table, at.second);
  if (!first || !second) return 0;
  clear_stale(first, at.flow, row);
  clear_stale(second, at.flow, row);

  const __u64 made = at.flow | (__u64)backend_id << kBackendShift |
                     (__u64)(want->now & kStampMask) << kStampShift | kEmbryonic;
  const __u32 used_first = used_in(first);
  const __u32 used_second = used_first >= kNearlyFull ? used_in(second) : LINIMO_BUCKET_ENTRIES;
  if (used_first < LINIMO_BUCKET_ENTRIES || used_second < LINIMO_BUCKET_ENTRIES) {
    struct linimo_cell* emptier = used_second < used_first ? second : first;
    __u64 place = 0;
    for (int i = LINIMO_BUCKET_ENTRIES - 1; i >= 0; --i)
      place -= (place - i) * is_zero(emptier->words[i] & kStateMask);
    const __u64 word = emptier->words[place & 7];
    if ((word & kStateMask) != kEmpty) return 0;
    if (__sync_val_compare_and_swap(&emptier->words[place & 7], word, made) != word) return 0;
    entry_made(row, want->service_id);
    return 1;
  }

  const __u64 holding = row->services_holding + (row->of_service[want->service_id & kServiceMask] == 0);
  const __u64 share = (bucket_mask + 1) * LINIMO_BUCKET_ENTRIES / (holding ? holding : 1);
  struct victim_search search = {first,         row,      share, 3ULL << kRankKind, 0, 0, want->service_id,
                                 want->timeout, want->now};
  bpf_loop(LINIMO_BUCKET_ENTRIES, rank_entry, &search, 0);
  search.bucket = second;
  search.second = 1;
  bpf_loop(LINIMO_BUCKET_ENTRIES, rank_entry, &search, 0);
  const __u64 best = search.best;
  if (best >> kRankKind >= 3) return 0;
  struct linimo_cell* bucket = best >> kRankSecond & 1 ? second : first;
  const __u64 word = bucket->words[best & 7];
  // Embryonic entries too young to go are a flood's: an established flow does not make room for that.
  if (search.own_embryonic && (best >> kRankOld & 1) && best >> kRankKind == 1) return 0;
  if (__sync_val_compare_and_swap(&bucket->words[best & 7], word, made) != word) return 0;
  entry_gone(row, word);
  entry_made(row, want->service_id);
  return 1;
}

#endif
