/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Slots that are not settled (tracking "adaptive"), in the memory of maglev/unsettled.h: where their unknown
 * packets go, and when they settle. Times wrap; a window is far shorter than half of them.
 */
#ifndef LINIMO_MAGLEV_RULES_ADAPTIVE_H
#define LINIMO_MAGLEV_RULES_ADAPTIVE_H

#include "maglev/abi.h"
#include "maglev/rules/rule.h"
#include "maglev/unsettled.h"

/* `unsettled`: of the slot's linimo_unsettled_word. */
LINIMO_RULE int linimo_slot_is_unsettled(__u64 unsettled, __u32 slot) {
  return (int)(unsettled >> slot % 64 & 1);
}

LINIMO_RULE int linimo_is_later(__u32 time, __u32 than) {
  return (__s32)(time - than) > 0;
}

/* Where a packet goes that begins no flow, of a flow that nobody knows: an index into the pool's backends, or
 * LINIMO_NO_BACKEND: the slot learns no more, and the table says it. */
LINIMO_RULE __u16 linimo_base_of(const struct linimo_learning* learning, __u32 now) {
  return linimo_is_later(learning->until, now) ? learning->base : (__u16)LINIMO_NO_BACKEND;
}

/* Does where a packet went tell of its slot's flows? One that names its backend goes there whatever the slot
 * says, whenever it comes. */
LINIMO_RULE int linimo_tells_of_slot(int is_unsettled, int is_named) {
  return is_unsettled && !is_named;
}

/* A deviation: it went elsewhere than to its slot's current backend. The two by their index, id or address; a
 * slot without a backend has none that is equal. */
LINIMO_RULE int linimo_deviates(__u64 went_to, __u64 current) {
  return went_to != current;
}

/* A slot settles once it learns no more and nothing has gone elsewhere than to its current backend for as
 * long as flows may be silent. */
LINIMO_RULE int linimo_slot_settles(const struct linimo_learning* learning, __u32 last_deviation,
                                    __u32 window, __u32 now) {
  return linimo_base_of(learning, now) == LINIMO_NO_BACKEND && (__s32)(now - last_deviation) > (__s32)window;
}

#endif
