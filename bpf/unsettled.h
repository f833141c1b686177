/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Slots of adaptive services that are not settled, in the memory of maglev/unsettled.h, where the process
 * settles them: what dataplane/flow/unsettled_slots.h does for a worker.
 *
 * `block` is where the pool's block begins: a service's `unsettled`. Whoever has found a slot there may ask
 * for the rest; that is off the fast path, and so global functions.
 */
#ifndef LINIMO_BPF_UNSETTLED_H
#define LINIMO_BPF_UNSETTLED_H

#include "maglev/rules/adaptive.h"
#include "tables.h"

static __always_inline struct linimo_unsettled_word* unsettled_word(void* blocks, __u32 block, __u32 slot) {
  struct linimo_unsettled_word* two =
      (void*)cell(blocks, block + LINIMO_UNSETTLED_WORDS + slot / (64 * LINIMO_WORDS_IN_LINE));
  return two ? &two[slot / 64 % LINIMO_WORDS_IN_LINE] : 0;
}

/* The service's block if the slot is unsettled, else 0. */
static __always_inline __u32 unsettled_block(const struct generation* generation,
                                             const struct linimo_xdp_service* service, __u32 slot) {
  const __u32 block = *(const volatile __u32*)&service->unsettled;
  if (block == 0) return 0;
  void* blocks = bpf_map_lookup_elem(&unsettled, &generation->active);
  if (!blocks) return 0;
  const struct linimo_unsettled_word* word = unsettled_word(blocks, block, slot);
  if (!word) return 0;
  return linimo_slot_is_unsettled(*(const volatile __u64*)&word->unsettled, slot) ? block : 0;
}

/* In the lower half where a packet goes that begins no flow, of a flow that nobody knows: an index into the
 * pool's backends, or LINIMO_NO_BACKEND: where the table says. In the upper, for how many ticks more. */
__noinline __u64 base_of_slot(__u32 active, __u32 block, __u32 slot) {
  active &= 1;
  void* blocks = bpf_map_lookup_elem(&unsettled, &active);
  if (!blocks) return LINIMO_NO_BACKEND;
  const struct linimo_unsettled_head* head = (void*)cell(blocks, block);
  const struct linimo_unsettled_word* word = unsettled_word(blocks, block, slot);
  if (!head || !word) return LINIMO_NO_BACKEND;
  const __u32 rank = linimo_slot_rank(word, slot);
  const struct linimo_learning* eight =
      (void*)cell(blocks, block + linimo_learning_line(head->table_size) + rank / LINIMO_LEARNING_IN_LINE);
  if (!eight) return LINIMO_NO_BACKEND;
  const struct linimo_learning* learning = &eight[rank % LINIMO_LEARNING_IN_LINE];
  const __u32 now = ticks_now();
  return linimo_base_of(learning, now) | (__u64)(learning->until - now) << 32;
}

/* A packet of the row has gone elsewhere than to the slot's current backend. */
__noinline int slot_deviated(__u32 active, __u32 block, __u32 slot, __u32 row) {
  LINIMO_TELL(return 1;)
  active &= 1;
  void* blocks = bpf_map_lookup_elem(&unsettled, &active);
  if (!blocks) return 0;
  const struct linimo_unsettled_head* head = (void*)cell(blocks, block);
  const struct linimo_unsettled_word* word = unsettled_word(blocks, block, slot);
  if (!head || !word) return 0;
  const __u32 rank = linimo_slot_rank(word, slot);
  __u32* stamps = (void*)cell(
      blocks, block + linimo_stamps_line(head->table_size, head->listed, row) + rank / LINIMO_STAMPS_IN_LINE);
  if (!stamps) return 0;
  *(volatile __u32*)&stamps[rank % LINIMO_STAMPS_IN_LINE] = ticks_now();
  return 1;
}

#endif
