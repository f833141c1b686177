/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Internet checksums (RFC 1071) over stretches of a frame whose place and length only the packet knows.
 *
 * The verifier lets a helper read a variable number of bytes out of a map's value but not out of a packet; so
 * the bytes are copied, 512 at a time, as many as bpf_csum_diff takes.
 */
#ifndef LINIMO_BPF_SUM_H
#define LINIMO_BPF_SUM_H

#include "packet.h"

enum { kSumStep = 512, kMaxSumSteps = 65536 / kSumStep };

struct sum_scratch {
  __u8 bytes[kSumStep + 4];
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct sum_scratch);
} sum_scratch SEC(".maps");

struct sum_state {
  struct xdp_md* ctx;
  struct sum_scratch* scratch;
  __u64 sum;
  __u32 offset, left;
  __u32 failed;
};

static long sum_step(__u32 index, struct sum_state* state) {
  (void)index;
  if (state->left == 0) return 1;
  const __u32 step = bounded(state->left < kSumStep ? state->left : kSumStep, kSumStep);
  if (bpf_xdp_load_bytes(state->ctx, state->offset, state->scratch->bytes, step)) {
    state->failed = 1;
    return 1;
  }
  __builtin_memset(state->scratch->bytes + step, 0, 4);  // up to a whole word
  state->sum += (__u32)bpf_csum_diff(0, 0, (__be32*)state->scratch->bytes, (step + 3) & ~3U, 0);
  state->offset += step;
  state->left -= step;
  return 0;
}

/* The one's complement sum of `length` bytes from `offset` in the frame, folded, in the byte order of memory;
 * the first byte counts as the high one on the wire. -1: the frame does not hold them. */
__noinline int frame_sum(struct xdp_md* ctx, __u32 offset, __u32 length) {
  const __u32 zero = 0;
  struct sum_state state = {ctx, bpf_map_lookup_elem(&sum_scratch, &zero), 0, offset, length, 0};
  if (!state.scratch) return -1;
  bpf_loop(kMaxSumSteps, sum_step, &state, 0);
  return state.failed || state.left ? -1 : linimo_checksum_fold(state.sum);
}

static __always_inline __u64 words_sum(const struct words* words) {
  return (words->high & 0xffffffff) + (words->high >> 32) + (words->low & 0xffffffff) + (words->low >> 32);
}

/* The addresses' part of a pseudo header of the packet's family. An IPv4 address is the mapped form's last
 * word. */
static __always_inline __u64 addresses_sum(const struct packet* p) {
  if (p->v6) return words_sum(&p->source) + words_sum(&p->destination);
  return (p->source.low >> 32) + (p->destination.low >> 32);
}

#endif
