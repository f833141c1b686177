/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The arithmetic of schedulers that keep state: dataplane/forward/scheduler.h says what each is for.
 */
#ifndef LINIMO_MAGLEV_RULES_SCHEDULE_H
#define LINIMO_MAGLEV_RULES_SCHEDULE_H

#include "maglev/rules/flow_hash.h"
#include "maglev/rules/multiply.h"

/* Weighted round-robin: where on the line [0, sum of the weights) turn n lies: at the part n / phi of it,
 * without its integer part. */
LINIMO_RULE __u64 linimo_place_of_turn(__u32 turn, __u64 sum_of_weights) {
  return linimo_part_of(turn * LINIMO_GOLDEN_RATIO, sum_of_weights);
}

/* Least connections: two candidates, the first of the flow's own slot, the second of this one or of those
 * behind it, until it is another. */
#define LINIMO_DRAWS 16
LINIMO_RULE __u32 linimo_second_draw(__u64 hash, __u32 table_size) {
  return linimo_slot_of(hash >> 32, table_size); /* bits that the flow's own slot did not use */
}
LINIMO_RULE __u32 linimo_slot_behind(__u32 slot, __u32 table_size) {
  return slot + 1 == table_size ? 0 : slot + 1;
}

/* Has the second fewer connections for its weight? Of equals the first is taken, so that an idle pool is used
 * by weight. Connections / weight, multiplied by both weights. */
LINIMO_RULE int linimo_takes_second(__u32 connections_first, __u32 weight_first, __u32 connections_second,
                                    __u32 weight_second) {
  return (__u64)connections_second * weight_first < (__u64)connections_first * weight_second;
}

#endif
