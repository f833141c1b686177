/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Connection tracking: the table of dataplane/flow/connection_table.h in an array map of buckets that belongs
 * to a receive queue. What an entry is and who makes room for whom says maglev/rules/flow_entry.h for both.
 *
 * A queue's packets may move from one CPU to another and the process sweeps expired entries meanwhile, so
 * each change of a word is a compare-and-swap; whoever loses it leaves the word to the winner.
 */
#ifndef LINIMO_BPF_CONNECTIONS_H
#define LINIMO_BPF_CONNECTIONS_H

#include "count.h"
#include "maglev/rules/flow_entry.h"

static __always_inline struct linimo_flow_places places_of(__u64 hash, __u32 service_id) {
  return linimo_flow_places_of(hash, service_id, bucket_count);
}

static __always_inline int is_expired(__u64 word, __u32 timeout, __u32 now) {
  return linimo_flow_is_expired(word, timeout, now, LINIMO_TICKS);
}

/* Entries are only ever read whole, since others may change them. */
static __always_inline __u64 entry_at(const struct linimo_cell* bucket, __u32 place) {
  return *(const volatile __u64*)&bucket->words[place];
}

static __always_inline __u64 entry_in(const struct linimo_cell* bucket, __u64 flow) {
  for (__u32 i = 0; bucket && i < LINIMO_FLOW_BUCKET; ++i) {
    const __u64 word = entry_at(bucket, i);
    if (linimo_flow_matches(word, flow)) return word;
  }
  return 0;
}

/* The entry of a flow in a row's table, expired or not; 0: it has none. */
static __always_inline __u64 find_flow_inline(__u32 row, __u64 hash, __u32 service_id) {
  void* table = bpf_map_lookup_elem(&connections, &row);
  if (!table) return 0;
  const struct linimo_flow_places at = places_of(hash, service_id);
  const __u64 word = entry_in(cell(table, at.first), at.flow);
  return word != 0 ? word : entry_in(cell(table, at.second), at.flow);
}

/* The same off the straight path. Global, as what follows: the verifier then sees it once. */
__noinline __u64 find_flow(__u32 row, __u64 hash, __u32 service_id) {
  return find_flow_inline(row, hash, service_id);
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

/* A word has taken another's place. Not inlined: Linux 6.1 gives its callers' chain of calls 512 bytes of
 * stack together. */
__noinline int count_connections(__u32 row, __u64 before, __u64 after) {
  __u32 key = 0;
  __u32* left =
      linimo_flow_leaves(before, after) ? connections_of(&key, row, linimo_flow_backend(before)) : 0;
  __u32* joined =
      linimo_flow_joins(before, after) ? connections_of(&key, row, linimo_flow_backend(after)) : 0;
  if (left) __sync_fetch_and_add(left, -1);
  if (joined) __sync_fetch_and_add(joined, 1);
  return 1;
}

static __always_inline int replace_in(struct linimo_cell* bucket, __u64 seen, __u64 word) {
  for (__u32 i = 0; bucket && i < LINIMO_FLOW_BUCKET; ++i) {
    if (entry_at(bucket, i) == seen)
      return __sync_val_compare_and_swap(&bucket->words[i], seen, word) == seen;
  }
  return 0;
}

/* Puts a word in the place of what find_flow() found, unless that has changed. */
__noinline int replace_flow(__u32 row, __u64 hash, __u32 service_id, __u64 seen, __u64 word) {
  LINIMO_TELL(return 1;)
  void* table = bpf_map_lookup_elem(&connections, &row);
  if (!table) return 0;
  const struct linimo_flow_places at = places_of(hash, service_id);
  if (!replace_in(cell(table, at.first), seen, word) && !replace_in(cell(table, at.second), seen, word))
    return 0;
  count_connections(row, seen, word);
  return 1;
}

static __always_inline void entry_gone(struct linimo_xdp_flows* row, __u32 service) {
  __sync_fetch_and_add(&row->entries, -1);
  if (__sync_fetch_and_add(&row->of_service[service & LINIMO_FLOW_SERVICE_MASK], -1) == 1)
    __sync_fetch_and_add(&row->services_holding, -1);
}

static __always_inline void entry_made(struct linimo_xdp_flows* row, __u32 service) {
  __sync_fetch_and_add(&row->entries, 1);
  if (__sync_fetch_and_add(&row->of_service[service & LINIMO_FLOW_SERVICE_MASK], 1) == 0)
    __sync_fetch_and_add(&row->services_holding, 1);
}

/* Takes a flow's entry out: an expired one gives its place up before the flow gets another, for there must
 * never be two. */
__noinline int clear_flow(__u32 row, __u64 hash, __u32 service_id, __u64 seen) {
  LINIMO_TELL(return 1;)
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
  if (!bucket) return LINIMO_FLOW_BUCKET;
  __u32 used = 0, empty = 0;
  for (int i = LINIMO_FLOW_BUCKET - 1; i >= 0; --i) {
    if (linimo_flow_state(entry_at(bucket, i)) == LINIMO_FLOW_EMPTY)
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

/* In the free bits of a rank: the place, and that it is in the second bucket. And above all others: the
 * service itself has embryonic entries in the bucket. */
enum { kRankSecond = 3, kRankEmbryonic = 63 };

/* The lowest rank in a bucket. */
__noinline __u64 rank_bucket(const struct linimo_cell* bucket, const struct linimo_xdp_flows* row,
                             const struct wanted_flow* want) {
  if (!bucket || !row || !want) return LINIMO_FLOW_RANK_NONE;
  const __u64 capacity = (__u64)bucket_count * LINIMO_FLOW_BUCKET;
  const __u32 timeout = want->timeout, now = want->now, service_id = want->service_id;
  __u64 best = LINIMO_FLOW_RANK_NONE, own_embryonic = 0;
  asm volatile("" : "+r"(best));
  for (__u32 i = 0; i < LINIMO_FLOW_BUCKET; ++i) {
    const __u64 word = entry_at(bucket, i);
    const __u32 owner = linimo_flow_service(word);
    if (owner == service_id) own_embryonic |= linimo_flow_state(word) == LINIMO_FLOW_EMBRYONIC;
    const enum linimo_flow_victim victim =
        linimo_flow_victim_of(word, service_id, timeout, now, LINIMO_TICKS);
    if (victim == LINIMO_FLOW_VICTIM_NONE) continue;
    if (victim == LINIMO_FLOW_VICTIM_OTHERS &&
        !linimo_flow_is_above_share(row->of_service[owner], row->services_holding,
                                    row->of_service[service_id & LINIMO_FLOW_SERVICE_MASK], capacity))
      continue;
    best = lower(linimo_flow_rank(word, victim, now) | i, best);
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
  const struct linimo_flow_places at = places_of(want->hash, want->service_id);
  // One key for all look-ups: Linux 6.1 gives this chain of calls no more than 512 bytes of stack together.
  key = at.first;
  struct linimo_cell* first = bpf_map_lookup_elem(table, &key);
  key = at.second;
  struct linimo_cell* second = bpf_map_lookup_elem(table, &key);
  if (!first || !second) return 0;
  const __u64 made = linimo_flow_made(at.flow, want->backend_id, want->now);

  struct linimo_cell* bucket = first;
  __u32 used = used_in(first);
  if (!linimo_flow_first_suffices((__u8)used)) {
    const __u32 used_second = used_in(second);
    if ((__u8)used_second < (__u8)used) {
      used = used_second;
      bucket = second;
    }
  }
  if ((__u8)used < LINIMO_FLOW_BUCKET) {
    LINIMO_TELL(return 1;)
    __u64* place = &bucket->words[used >> kPlaceShift & 7];
    if (__sync_val_compare_and_swap(place, 0, made) != 0) return 0;
    count_connections(want->row, 0, made);
    entry_made(row, want->service_id);
    return 1;
  }

  const __u64 best_first = rank_bucket(first, row, want);
  const __u64 best_second = rank_bucket(second, row, want) | 1 << kRankSecond;
  const __u64 own_embryonic = (best_first | best_second) >> kRankEmbryonic;
  const __u64 best = lower(best_first & ~(1ULL << kRankEmbryonic), best_second & ~(1ULL << kRankEmbryonic));
  if (best >= LINIMO_FLOW_RANK_NONE || (own_embryonic && linimo_flow_withstands_flood(best))) return 0;
  LINIMO_TELL(return 1;)
  bucket = best >> kRankSecond & 1 ? second : first;
  const __u64 word = entry_at(bucket, best & 7);
  if (__sync_val_compare_and_swap(&bucket->words[best & 7], word, made) != word) return 0;
  count_connections(want->row, word, made);
  const __u32 owner = linimo_flow_service(word);
  if (owner != want->service_id) {
    entry_gone(row, owner);
    entry_made(row, want->service_id);
  }
  return 1;
}

/* The same, counted. No room is no reason to drop: the flow's next packet will take the same slot. */
static __always_inline int remember_flow(const struct wanted_flow* want) {
  // Where an expired entry of the flow itself would have made room, it still stands.
  LINIMO_TELL(const int room = find_flow(want->row, want->hash, want->service_id) != 0 || insert_flow(want);
              told.memory = room ? LINIMO_TRACE_KEEPS_NEW : LINIMO_TRACE_NO_ROOM; return room;)
  if (!insert_flow(want)) {
    count_unstored(want->row);
    return 0;
  }
  count_new_flow(want->row, want->service_id, want->backend_id);
  return 1;
}

#endif
