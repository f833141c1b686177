/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Fragments: what the first of a datagram chose is remembered for a while (maglev/rules/fragment.h), so that
 * the others, which have no ports, follow it. Each row writes its own part of the memory and reads the
 * others' where its own says nothing, since fragments may arrive on another queue than the first. A fragment
 * that nothing is known of yet goes to the process, which holds it for a while.
 */
#ifndef LINIMO_BPF_FRAGMENT_H
#define LINIMO_BPF_FRAGMENT_H

#include "maglev/rules/fragment.h"
#include "tables.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, LINIMO_FRAGMENT_BUCKETS); /* times the rows, and one more: what other nodes tell */
  __type(key, __u32);
  __type(value, struct linimo_cell);
} fragments SEC(".maps");

/* By row: the process' sockets. */
struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, LINIMO_MAX_ROWS);
  __type(key, __u32);
  __type(value, __u32);
} xsks SEC(".maps");

static __always_inline __u64 datagram_hash(const struct linimo_xdp_head* head, const struct packet* p) {
  const __u64 end = linimo_datagram_key_end(p->v6, p->fragment_id, p->protocol);
  return hash_addresses(head, &p->source, &p->destination, end, p->v6);
}

static __always_inline struct linimo_cell* fragment_bucket(__u32 row, __u64 hash) {
  const __u32 index = row * LINIMO_FRAGMENT_BUCKETS + linimo_fragment_bucket(hash);
  return bpf_map_lookup_elem(&fragments, &index);
}

struct place_search {
  const struct linimo_cell* bucket;
  __u64 hash, now;
  __u64 best; /* rank, and the place in its last three bits */
};

/* A loop by helper, because the verifier would follow each way through eight comparisons. */
static long rank_place(__u32 index, struct place_search* search) {
  const __u64 word = *(volatile __u64*)&search->bucket->words[index % LINIMO_FRAGMENT_PLACES];
  const __u64 rank =
      (__u64)linimo_fragment_rank(word, search->hash, search->now) * LINIMO_FRAGMENT_PLACES + index;
  if (rank > search->best) search->best = rank;
  return 0;
}

/* Notes a first fragment's choice: in the datagram's own place, else in the one longest written. */
__noinline int remember_datagram(__u64 hash, __u32 row, __u32 backend_id, __u32 service_id) {
  LINIMO_TELL(return 0;)
  struct linimo_cell* bucket = fragment_bucket(row, hash);
  if (!bucket) return -1;
  struct place_search search = {bucket, hash, bpf_ktime_get_coarse_ns(), 0};
  bpf_loop(LINIMO_FRAGMENT_PLACES, rank_place, &search, 0);
  __u64* place = &bucket->words[search.best % LINIMO_FRAGMENT_PLACES];
  const __u64 seen = *(volatile __u64*)place;
  // Whoever writes at the same moment has as good a claim.
  __sync_val_compare_and_swap(place, seen, linimo_fragment_word(hash, backend_id, service_id, search.now));
  return 0;
}

struct datagram_search {
  __u64 hash, now, word;
};

static long look_in_row(__u32 row, struct datagram_search* search) {
  const struct linimo_cell* bucket = fragment_bucket(row, search->hash);
  if (!bucket) return 1;
  search->word = linimo_fragment_in(bucket->words, search->hash, search->now);
  return search->word != 0;
}

/* What is remembered of a datagram, as an entry's word; 0: nothing. */
__noinline __u64 recall_datagram(__u64 hash, __u32 row) {
  struct datagram_search search = {hash, bpf_ktime_get_coarse_ns(), 0};
  look_in_row(row, &search);
  if (search.word == 0) bpf_loop(row_count + 1, look_in_row, &search, 0);
  return search.word;
}

/* Can the process be handed it? AF_XDP has one page for a frame here, and Linux 6.1 sends it none that has
 * several buffers. */
static __always_inline int may_be_handed(struct xdp_md* ctx) {
  return first_buffer(ctx) <= LINIMO_XDP_HANDED_MOST && !is_in_several_buffers(ctx);
}

/* Hands a frame to the process, which counts what becomes of it. A fragment it holds, and puts it through
 * this program again once its datagram is known; what is encapsulated and too long for its way it sends in
 * fragments. `datagram`, `way`: a struct linimo_xdp_handed. Anything but XDP_REDIRECT: the process has no
 * socket for the row. */
__noinline int hand_to_process(struct xdp_md* ctx, __u32 row, __u64 datagram, __u64 way) {
  __u64 handed[] = {datagram, way};
  if (bpf_xdp_adjust_head(ctx, -(int)sizeof handed) || bpf_xdp_store_bytes(ctx, 0, handed, sizeof handed))
    return XDP_DROP;
  return bpf_redirect_map(&xsks, row, XDP_DROP);
}

#endif
