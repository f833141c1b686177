/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Which slots of a pool's table are not settled (tracking "adaptive"), as packets of both engines look it up:
 * a block of memory that needs no pointer, so that it may outlive the process that made it.
 *
 * A block is a number of 64-byte lines: its head; words, one for 64 slots of the table, two in a line; then,
 * each by the rank of a slot among those listed, what is known of its learning, eight in a line, and for
 * every worker (xdp: every row) the times of its last deviations, sixteen in a line. All parts begin a line,
 * so no two workers write to one. Times are those of the workers' clock, in its unit.
 */
#ifndef LINIMO_MAGLEV_UNSETTLED_H
#define LINIMO_MAGLEV_UNSETTLED_H

#include <linux/types.h>

#define LINIMO_UNSETTLED_LINE 64u
#define LINIMO_WORDS_IN_LINE 2u
#define LINIMO_LEARNING_IN_LINE 8u
#define LINIMO_STAMPS_IN_LINE 16u

struct linimo_unsettled_head {
  __u32 table_size;
  __u32 listed; /* slots */
  __u32 workers;
  __u32 window; /* how long flows may be silent */
  __u32 reserved[12];
};

struct linimo_unsettled_word {
  __u64 listed;    /* never changes: ranks are counted in it */
  __u64 unsettled; /* of those listed */
  __u32 rank;      /* of the word's first slot */
  __u32 reserved[3];
};

struct linimo_learning {
  __u32 until;
  __u16 base; /* index into the pool's backends */
  __u16 reserved;
};

static inline __u32 linimo_slot_rank(const struct linimo_unsettled_word* word, __u32 slot) {
  return word->rank + (__u32)__builtin_popcountll(word->listed & ((1ULL << slot % 64) - 1));
}

/* Lines, counted from the block's first. */
#define LINIMO_UNSETTLED_WORDS 1u
static inline __u32 linimo_lines_for(__u32 count, __u32 in_line) {
  return (count + in_line - 1) / in_line;
}
static inline __u32 linimo_learning_line(__u32 table_size) {
  return LINIMO_UNSETTLED_WORDS + linimo_lines_for(table_size, 64 * LINIMO_WORDS_IN_LINE);
}
static inline __u32 linimo_stamps_line(__u32 table_size, __u32 listed, __u32 worker) {
  return linimo_learning_line(table_size) + linimo_lines_for(listed, LINIMO_LEARNING_IN_LINE) +
         worker * linimo_lines_for(listed, LINIMO_STAMPS_IN_LINE);
}

#ifdef __cplusplus
static_assert(sizeof(linimo_unsettled_head) == LINIMO_UNSETTLED_LINE);
static_assert(sizeof(linimo_unsettled_word) * LINIMO_WORDS_IN_LINE == LINIMO_UNSETTLED_LINE);
static_assert(sizeof(linimo_learning) * LINIMO_LEARNING_IN_LINE == LINIMO_UNSETTLED_LINE);
#endif

#endif
