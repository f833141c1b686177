/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * An entry of a connection table: which backend a flow was sent to, in eight bytes.
 *
 *   63           44 43         32 31            14 13         2 1     0
 *   | fingerprint | service id  | backend id      | stamp      | state |
 *        20 bits       12 bits       18 bits         12 bits     2 bits
 *
 * so that what tells a flow is one half of the word. The stamp is the time of the last packet, in units of
 * the engine's clock, modulo 4096. A bucket is one cache line of eight entries, and a flow has two buckets.
 * dataplane/flow/connection_table.h says why so, and what the odds are.
 */
#ifndef LINIMO_MAGLEV_RULES_FLOW_ENTRY_H
#define LINIMO_MAGLEV_RULES_FLOW_ENTRY_H

#include "maglev/abi.h"
#include "maglev/rules/clock.h"

#define LINIMO_FLOW_BUCKET 8u      /* entries */
#define LINIMO_FLOW_ROOM_ENOUGH 2u /* places: with no more the emptier of the two buckets is taken */

#define LINIMO_FLOW_CLOSING_S 60u /* that an entry lives after the last packet, once there was a FIN */
#define LINIMO_FLOW_ENDED_S 10u   /* and silent for longer, nobody waits for its connection's end any more */
#define LINIMO_FLOW_YOUNG_S 3u    /* younger ones make room for nobody */

#define LINIMO_FLOW_STATE_MASK 3u
#define LINIMO_FLOW_STAMP_SHIFT 2
#define LINIMO_FLOW_STAMP_MASK 0xfffu
#define LINIMO_FLOW_BACKEND_SHIFT 14
#define LINIMO_FLOW_BACKEND_MASK 0x3ffffu
#define LINIMO_FLOW_SERVICE_SHIFT 32
#define LINIMO_FLOW_SERVICE_MASK 0xfffu
#define LINIMO_FLOW_FINGERPRINT_SHIFT 44

enum linimo_flow_state {
  LINIMO_FLOW_EMPTY,
  LINIMO_FLOW_EMBRYONIC, /* nothing has followed its first packet a second later, or later still */
  LINIMO_FLOW_ESTABLISHED,
  LINIMO_FLOW_CLOSING, /* has said FIN */
};

LINIMO_RULE __u32 linimo_flow_state(__u64 word) {
  return (__u32)word & LINIMO_FLOW_STATE_MASK;
}
LINIMO_RULE __u32 linimo_flow_backend(__u64 word) {
  return (__u32)(word >> LINIMO_FLOW_BACKEND_SHIFT) & LINIMO_FLOW_BACKEND_MASK;
}
LINIMO_RULE __u32 linimo_flow_service(__u64 word) {
  return (__u32)(word >> LINIMO_FLOW_SERVICE_SHIFT) & LINIMO_FLOW_SERVICE_MASK;
}

/* Is it a connection that no FIN has closed? */
LINIMO_RULE int linimo_flow_is_open(__u64 word) {
  return linimo_flow_state(word) == LINIMO_FLOW_EMBRYONIC ||
         linimo_flow_state(word) == LINIMO_FLOW_ESTABLISHED;
}

/* One word takes another's place. Has the backend of the one before a connection less that is open? The
 * schedulers compare their number. */
LINIMO_RULE int linimo_flow_leaves(__u64 before, __u64 after) {
  return linimo_flow_is_open(before) &&
         !(linimo_flow_is_open(after) && linimo_flow_backend(before) == linimo_flow_backend(after));
}
/* And that of the one behind it one more? */
LINIMO_RULE int linimo_flow_joins(__u64 before, __u64 after) {
  return linimo_flow_leaves(after, before);
}

/* Buckets of a table for so many flows, at two thirds full. */
LINIMO_RULE __u64 linimo_flow_buckets(__u64 flows) {
  const __u64 entries = flows + flows / 2 < 64 ? 64 : flows + flows / 2;
  return (entries + LINIMO_FLOW_BUCKET - 1) / LINIMO_FLOW_BUCKET;
}

struct linimo_flow_places {
  __u64 first, second; /* buckets */
  __u64 flow;          /* fingerprint and service id, in place */
};

/* `hash`: a fraction of 2^64, so that the bucket is the hash times their number, and the fingerprint is of
 * where in the bucket's part of all hashes this one lies. `buckets`: at least 2, below 2^32. */
LINIMO_RULE struct linimo_flow_places linimo_flow_places_of(__u64 hash, __u32 service_id, __u64 buckets) {
  struct linimo_flow_places places;
#ifdef __bpf__ /* which has no product of 128 bits: the highest 96 are enough */
  const __u64 scaled = (hash >> 32) * buckets + ((hash & 0xffffffff) * buckets >> 32);
  const __u64 fingerprint = (scaled & 0xffffffff) >> (LINIMO_FLOW_FINGERPRINT_SHIFT - 32);
  places.first = scaled >> 32;
#else
  __extension__ typedef unsigned __int128 linimo_wide;
  const linimo_wide scaled = (linimo_wide)hash * buckets;
  const __u64 fingerprint = (__u64)scaled >> LINIMO_FLOW_FINGERPRINT_SHIFT;
  places.first = (__u64)(scaled >> 64);
#endif
  /* Fibonacci hashing: the product's upper half depends on the whole fingerprint, its highest bits most. */
  const __u64 spread = fingerprint * LINIMO_GOLDEN_RATIO >> 32;
  const __u64 second = places.first + 1 + (spread * (buckets - 1) >> 32);
  places.second = second < buckets ? second : second - buckets;
  places.flow = fingerprint << LINIMO_FLOW_FINGERPRINT_SHIFT | (__u64)service_id << LINIMO_FLOW_SERVICE_SHIFT;
  return places;
}

/* Is it the flow's entry? Empty ones look like that of the flow whose bits are all zero. */
LINIMO_RULE int linimo_flow_matches(__u64 word, __u64 flow) {
  return (word ^ flow) >> LINIMO_FLOW_SERVICE_SHIFT == 0 && linimo_flow_state(word) != LINIMO_FLOW_EMPTY;
}

/* Is a word that was seen before the same flow's to the same backend still, whatever has come since? */
LINIMO_RULE int linimo_flow_is_same(__u64 word, __u64 seen) {
  return (word ^ seen) >> LINIMO_FLOW_BACKEND_SHIFT == 0 && linimo_flow_state(word) != LINIMO_FLOW_EMPTY;
}

/* `now`: of the clock that stamps it. */
LINIMO_RULE __u32 linimo_flow_age(__u64 word, __u32 now) {
  return (now - (__u32)(word >> LINIMO_FLOW_STAMP_SHIFT)) & LINIMO_FLOW_STAMP_MASK;
}

/* Whose clock is read by another than who stamps may be behind by a moment, and must not take the newest
 * entries for the oldest. */
#define LINIMO_FLOW_AHEAD 2u /* units */
LINIMO_RULE __u32 linimo_flow_age_seen(__u64 word, __u32 now) {
  const __u32 age = linimo_flow_age(word, now + LINIMO_FLOW_AHEAD);
  return age < LINIMO_FLOW_AHEAD ? 0 : age - LINIMO_FLOW_AHEAD;
}

/* How long it lives after its last packet. */
LINIMO_RULE __u32 linimo_flow_life(__u64 word, __u32 timeout, enum linimo_clock clock) {
  const __u32 closing = linimo_units_for(clock, LINIMO_FLOW_CLOSING_S);
  return linimo_flow_state(word) == LINIMO_FLOW_CLOSING && timeout > closing ? closing : timeout;
}

LINIMO_RULE int linimo_flow_is_expired(__u64 word, __u32 timeout, __u32 now, enum linimo_clock clock) {
  return linimo_flow_age(word, now) > linimo_flow_life(word, timeout, clock);
}

/* What the sweep clears: an entry that has expired, or whose service is gone, which has no timeout. */
LINIMO_RULE int linimo_flow_is_over(__u64 word, __u32 timeout, __u32 now, enum linimo_clock clock) {
  return timeout == 0 || linimo_flow_is_expired(word, timeout, now, clock);
}

/* The same, by a clock that was read elsewhere. */
LINIMO_RULE int linimo_flow_is_over_seen(__u64 word, __u32 timeout, __u32 now, enum linimo_clock clock) {
  return timeout == 0 || linimo_flow_age_seen(word, now) > linimo_flow_life(word, timeout, clock);
}

/* Has its connection ended, so that the sweep does not count it? The entry stays, for what was lost is sent
 * again. One that is closed in one direction alone goes on sending acknowledgements. */
LINIMO_RULE int linimo_flow_has_ended(__u64 word, __u32 now, enum linimo_clock clock) {
  return linimo_flow_state(word) == LINIMO_FLOW_CLOSING &&
         linimo_flow_age(word, now) > linimo_units_for(clock, LINIMO_FLOW_ENDED_S);
}

/* Whether a SYN may be another connection's, from the port of one that has ended: that said FIN, or has sent
 * nothing for a while. A client does not send a SYN on a connection that lives, so this only keeps a forged
 * one from moving what is in use. Without the silence a RST would have to be noted, which as well could be
 * forged. */
LINIMO_RULE int linimo_flow_may_have_ended(__u64 word, __u32 now, enum linimo_clock clock) {
  return linimo_flow_state(word) == LINIMO_FLOW_CLOSING ||
         linimo_flow_age(word, now) >= linimo_units_for(clock, LINIMO_FLOW_YOUNG_S);
}

LINIMO_RULE __u64 linimo_flow_made(__u64 flow, __u32 backend_id, __u32 now) {
  return flow | (__u64)backend_id << LINIMO_FLOW_BACKEND_SHIFT |
         (__u64)(now & LINIMO_FLOW_STAMP_MASK) << LINIMO_FLOW_STAMP_SHIFT | LINIMO_FLOW_EMBRYONIC;
}

LINIMO_RULE __u64 linimo_flow_with_backend(__u64 word, __u32 backend_id) {
  return (word & ~((__u64)LINIMO_FLOW_BACKEND_MASK << LINIMO_FLOW_BACKEND_SHIFT)) |
         (__u64)backend_id << LINIMO_FLOW_BACKEND_SHIFT;
}

/* The entry once a packet followed it: another at most once a unit of the clock, or when the state changes. A
 * SYN on one that is closing opens it again. */
LINIMO_RULE __u64 linimo_flow_touched(__u64 word, int fin, int begins, __u32 now) {
  const __u64 stamps = (__u64)LINIMO_FLOW_STAMP_MASK << LINIMO_FLOW_STAMP_SHIFT;
  __u64 state = linimo_flow_state(word);
  if (fin)
    state = LINIMO_FLOW_CLOSING;
  else if (state == LINIMO_FLOW_CLOSING && begins)
    state = LINIMO_FLOW_EMBRYONIC;
  else if (state == LINIMO_FLOW_EMBRYONIC && linimo_flow_age(word, now) != 0)
    state = LINIMO_FLOW_ESTABLISHED;
  return (word & ~(stamps | LINIMO_FLOW_STATE_MASK)) |
         (__u64)(now & LINIMO_FLOW_STAMP_MASK) << LINIMO_FLOW_STAMP_SHIFT | state;
}

/* The entry as if its last packet had come so much earlier. */
LINIMO_RULE __u64 linimo_flow_aged(__u64 word, __u32 units) {
  const __u64 stamps = (__u64)LINIMO_FLOW_STAMP_MASK << LINIMO_FLOW_STAMP_SHIFT;
  return (word & ~stamps) | ((word - ((__u64)units << LINIMO_FLOW_STAMP_SHIFT)) & stamps);
}

/* Who makes room where both buckets are full: an expired entry of the flow's own service, then another of it,
 * then one of a service that holds more than its share; never one that is young. */
enum linimo_flow_victim {
  LINIMO_FLOW_VICTIM_EXPIRED,
  LINIMO_FLOW_VICTIM_OWN,
  LINIMO_FLOW_VICTIM_OTHERS, /* if its service is above its share */
  LINIMO_FLOW_VICTIM_NONE,
};

LINIMO_RULE enum linimo_flow_victim linimo_flow_victim_of(__u64 word, __u32 service_id, __u32 timeout,
                                                          __u32 now, enum linimo_clock clock) {
  const int own = linimo_flow_service(word) == service_id;
  if (own && linimo_flow_is_expired(word, timeout, now, clock)) return LINIMO_FLOW_VICTIM_EXPIRED;
  if (linimo_flow_age(word, now) < linimo_units_for(clock, LINIMO_FLOW_YOUNG_S))
    return LINIMO_FLOW_VICTIM_NONE;
  return own ? LINIMO_FLOW_VICTIM_OWN : LINIMO_FLOW_VICTIM_OTHERS;
}

/* A share is the table's capacity divided by the services that hold any of it; the one that wants a place
 * counts among them. */
LINIMO_RULE int linimo_flow_is_above_share(__u64 held, __u64 services_holding, __u64 own_held,
                                           __u64 capacity) {
  return held * (services_holding + (own_held == 0)) > capacity;
}

/* The lower, the better the entry's place suits a new flow: by kind of victim, embryonic ones first, the
 * oldest first. The lowest eight bits are free for saying where it lies. */
#define LINIMO_FLOW_RANK_VICTIM 32
#define LINIMO_FLOW_RANK_OLD 20 /* not embryonic */
#define LINIMO_FLOW_RANK_AGE 8
LINIMO_RULE __u64 linimo_flow_rank(__u64 word, enum linimo_flow_victim victim, __u32 now) {
  return (__u64)victim << LINIMO_FLOW_RANK_VICTIM |
         (__u64)(linimo_flow_state(word) != LINIMO_FLOW_EMBRYONIC) << LINIMO_FLOW_RANK_OLD |
         (__u64)(LINIMO_FLOW_STAMP_MASK - linimo_flow_age(word, now)) << LINIMO_FLOW_RANK_AGE;
}
#define LINIMO_FLOW_RANK_NONE ((__u64)LINIMO_FLOW_VICTIM_NONE << LINIMO_FLOW_RANK_VICTIM)

/* Embryonic entries too young to go are a flood's: where the service has such in the two buckets, an
 * established entry of its own does not make room for another. */
LINIMO_RULE int linimo_flow_withstands_flood(__u64 best_rank) {
  return best_rank >> LINIMO_FLOW_RANK_VICTIM == LINIMO_FLOW_VICTIM_OWN &&
         (best_rank >> LINIMO_FLOW_RANK_OLD & 1) != 0;
}

/* Where a new flow goes while there is an empty place in its buckets: into the first unless that is nearly
 * full and the second is emptier. */
LINIMO_RULE int linimo_flow_first_suffices(__u32 used_first) {
  return used_first + LINIMO_FLOW_ROOM_ENOUGH < LINIMO_FLOW_BUCKET;
}

#endif
