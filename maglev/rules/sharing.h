/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What the nodes of a fleet tell each other of their flows (tracking "adaptive"): exactly those that a node
 * which never heard of them would send elsewhere. bench/README.md has what that saves, and what telling more
 * or less does. Backends are any numbers that differ, `none` is of no backend.
 */
#ifndef LINIMO_MAGLEV_RULES_SHARING_H
#define LINIMO_MAGLEV_RULES_SHARING_H

#include "maglev/rules/flow_entry.h"

/* Are a word's numbers such as there can be? */
LINIMO_RULE int linimo_is_sound_word(__u32 backend_id, __u32 service_id) {
  return backend_id < LINIMO_MAX_BACKEND_IDS && service_id < LINIMO_MAX_SERVICES;
}

/* A flow is told of again after this part of the idle timeout, and remembered by those who were told for as
 * much longer than the timeout. */
#define LINIMO_TOLD_AGAIN 3

LINIMO_RULE __u32 linimo_told_again_after(__u32 idle_timeout) {
  return idle_timeout < LINIMO_TOLD_AGAIN ? 1 : idle_timeout / LINIMO_TOLD_AGAIN;
}
/* Never longer than a stamp can say. */
LINIMO_RULE __u32 linimo_told_for(__u32 idle_timeout) {
  const __u32 life = idle_timeout + linimo_told_again_after(idle_timeout);
  return life < LINIMO_MAX_IDLE_TIMEOUT_S ? life : LINIMO_MAX_IDLE_TIMEOUT_S;
}

/* Is the flow one to tell of? It goes to `goes`, on an unsettled slot whose backend is `current`. `base`:
 * where a stranger sends what begins no flow, while that counts and lives; it counts for `base_left` more.
 * Who would guess right today, and wrong when the base ceases to count, is told before it does. */
LINIMO_RULE int linimo_is_to_be_told(__u32 goes, __u32 current, __u32 base, __u32 none, __s32 base_left,
                                     __u32 idle_timeout) {
  if (base == none || base == current) return goes != current;
  if (goes != base) return 1;
  return base_left < (__s32)linimo_told_again_after(idle_timeout);
}

/* What a packet makes a node say to the others. */
enum linimo_word_kind {
  LINIMO_WORD_NONE,
  LINIMO_WORD_GOES,  /* where the flow goes */
  LINIMO_WORD_ENDED, /* that it has ended: forget it */
};

/* `told`: the flow's live entry among those that were told or heard of, 0: it has none; `wanted`: of
 * linimo_is_to_be_told. */
LINIMO_RULE enum linimo_word_kind linimo_word_of(__u64 told, int ends, int wanted, __u32 goes,
                                                 __u32 idle_timeout, __u32 now) {
  if (ends)
    return told != 0 && linimo_flow_state(told) != LINIMO_FLOW_CLOSING ? LINIMO_WORD_ENDED : LINIMO_WORD_NONE;
  if (!wanted) return LINIMO_WORD_NONE;
  return told == 0 || linimo_flow_backend(told) != goes ||
                 linimo_flow_age_seen(told, now) >= linimo_told_again_after(idle_timeout)
             ? LINIMO_WORD_GOES
             : LINIMO_WORD_NONE;
}

#endif
