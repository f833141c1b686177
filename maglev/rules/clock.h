/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The two clocks by which flows grow old: the workers' second, and the XDP program's tick of 2^30 ns, so that
 * the program need not divide. Lives are said in seconds, here once for both.
 */
#ifndef LINIMO_MAGLEV_RULES_CLOCK_H
#define LINIMO_MAGLEV_RULES_CLOCK_H

#include "maglev/rules/rule.h"

#define LINIMO_TICK_SHIFT 30

/* Ticks that last at least so many seconds, and whole ticks in so many. */
#define LINIMO_TICKS_FOR(seconds) \
  ((__u32)(((__u64)(seconds)*1000000000ULL + (1ULL << LINIMO_TICK_SHIFT) - 1) >> LINIMO_TICK_SHIFT))
#define LINIMO_TICKS_WITHIN(seconds) ((__u32)((__u64)(seconds)*1000000000ULL >> LINIMO_TICK_SHIFT))
/* Whole seconds in so many ticks. */
#define LINIMO_SECONDS_IN_TICKS(ticks) ((__u32)(((__u64)(ticks) << LINIMO_TICK_SHIFT) / 1000000000ULL))

enum linimo_clock { LINIMO_SECONDS, LINIMO_TICKS };

/* Units of a clock that last at least so many seconds. */
LINIMO_RULE __u32 linimo_units_for(enum linimo_clock clock, __u32 seconds) {
  return clock == LINIMO_SECONDS ? seconds : LINIMO_TICKS_FOR(seconds);
}

#endif
