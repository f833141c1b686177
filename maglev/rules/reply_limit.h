/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * How many replies of one kind a worker (xdp: a row) may still send, and to whom: the rule of both engines.
 *
 * There is room for one second's worth. A quarter of it is kept for those who have had less than their share,
 * a 64th of the rate and at least one reply, so that a flood that answers go to does not silence those to
 * others: it takes what nobody wants, and its shares. Sources are told apart by network, /24 or /56, hashed
 * to one of 256 places; who shares a flood's place shares its fate.
 *
 * Token buckets, each kept as the time at which it would be full again (GCRA): one word, for the sake of rows
 * that run on two CPUs. Time in ns, of a clock that never goes back.
 */
#ifndef LINIMO_MAGLEV_RULES_REPLY_LIMIT_H
#define LINIMO_MAGLEV_RULES_REPLY_LIMIT_H

#include "maglev/rules/rule.h"

#define LINIMO_REPLY_SOURCES 256u
#define LINIMO_REPLY_SHARES 64u /* of the rate */
#define LINIMO_REPLY_RESERVE 4u /* the part of the room that is kept: one in so many */
#define LINIMO_REPLY_SECOND 1000000000ULL

struct linimo_reply_limit {
  __u64 full_at;
  __u64 full_at_of_source[LINIMO_REPLY_SOURCES];
};

/* Where a source stands. `high`: the first eight bytes of its address as they lie in memory, of IPv4 the
 * four; `secret`: keeps others from choosing whom they stand beside. */
LINIMO_RULE __u32 linimo_reply_place(__u64 high, int v6, __u64 secret) {
  const __u64 network = high & (v6 ? 0xffffffffffffffULL : 0xffffff);
  return ((network ^ secret) * LINIMO_GOLDEN_RATIO) >> 56;
}

/* Takes a token out of a bucket that holds `room` ns' worth of them. */
LINIMO_RULE int linimo_reply_take(__u64* full_at, __u64 interval, __u64 room, __u64 now) {
  for (int i = 0; i < 4; ++i) {
    const __u64 seen = *(volatile __u64*)full_at;
    const __u64 then = (seen > now ? seen : now) + interval;
    if (then > now + room) return 0;
    if (__sync_val_compare_and_swap(full_at, seen, then) == seen) return 1;
  }
  return 0;
}

/* `rate`: replies a second; 0: no limit. `place`: linimo_reply_place(). */
LINIMO_RULE int linimo_may_reply(struct linimo_reply_limit* limit, __u32 rate, __u32 place, __u64 now) {
  if (rate == 0) return 1;
  const __u64 interval = LINIMO_REPLY_SECOND / rate;
  const __u64 share = interval * LINIMO_REPLY_SHARES;
  __u64* own = &limit->full_at_of_source[place % LINIMO_REPLY_SOURCES];
  const int within_share =
      linimo_reply_take(own, share, share > LINIMO_REPLY_SECOND ? share : LINIMO_REPLY_SECOND, now);
  const __u64 room =
      within_share ? LINIMO_REPLY_SECOND : LINIMO_REPLY_SECOND - LINIMO_REPLY_SECOND / LINIMO_REPLY_RESERVE;
  return linimo_reply_take(&limit->full_at, interval, room > interval ? room : interval, now);
}

#endif
