/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What the nodes of a fleet tell each other of their flows (tracking "adaptive"): exactly those that a node
 * which never heard of them would send elsewhere. bench/README.md has what that saves, and what telling more
 * or less does. Backends are any numbers that differ, `none` is of no backend.
 */
#ifndef LINIMO_MAGLEV_RULES_SHARING_H
#define LINIMO_MAGLEV_RULES_SHARING_H

#include "maglev/rules/rule.h"

/* A flow is told of again after this part of the idle timeout, and remembered by those who were told for as
 * much longer than the timeout. */
#define LINIMO_TOLD_AGAIN 3

LINIMO_RULE __u32 linimo_told_again_after(__u32 idle_timeout) {
  return idle_timeout / LINIMO_TOLD_AGAIN;
}
LINIMO_RULE __u32 linimo_told_for(__u32 idle_timeout) {
  return idle_timeout + linimo_told_again_after(idle_timeout);
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

#endif
