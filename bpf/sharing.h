/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What nodes of a fleet tell each other of flows (maglev/rules/sharing.h): words go to the process by a ring,
 * and what it and others have said stands behind the connection tables of the rows.
 */
#ifndef LINIMO_BPF_SHARING_H
#define LINIMO_BPF_SHARING_H

#include "connections.h"
#include "maglev/rules/sharing.h"

/* The entry of a flow's last word while it lives, else 0. */
__noinline __u64 word_of_flow(__u64 hash, __u32 service_id, __u32 idle_ticks) {
  const __u64 word = find_flow(row_count, hash, service_id);
  if (word == 0 || linimo_flow_is_over_seen(word, linimo_told_for(idle_ticks), ticks_now(), LINIMO_TICKS))
    return 0;
  return word;
}

static __always_inline int put_word(__u64 hash, __u32 service_id, __u32 backend_id, __u8 ended,
                                    __u8 datagram) {
  struct linimo_flow_word* word = bpf_ringbuf_reserve(&words, sizeof *word, 0);
  if (!word) return 0;
  word->hash = hash;
  word->backend = backend_id;
  word->service = service_id;
  word->ended = ended;
  word->datagram = datagram;
  bpf_ringbuf_submit(word, BPF_RB_NO_WAKEUP);
  return 1;
}

/* Tells others of the flow, if they are to be told now. A word that finds no room is lost: the flow's next
 * packet makes another. `why`: of linimo_is_to_be_told, and whether the packet ends the flow. */
enum { kWordWanted = 1, kWordEnds = 2 };
__noinline int say_word(__u64 hash, __u32 service_id, __u32 idle_ticks, __u32 goes, __u32 why) {
  LINIMO_TELL(return 0;)
  const enum linimo_word_kind kind =
      linimo_word_of(word_of_flow(hash, service_id, idle_ticks), why & kWordEnds, why & kWordWanted, goes,
                     idle_ticks, ticks_now());
  if (kind == LINIMO_WORD_NONE) return 0;
  return put_word(hash, service_id, goes, kind == LINIMO_WORD_ENDED, 0);
}

/* Tells others of a datagram in fragments: where its first one went. */
__noinline int say_datagram(__u64 hash, __u32 service_id, __u32 backend_id) {
  LINIMO_TELL(return 0;)
  return put_word(hash, service_id, backend_id, 0, 1);
}

#endif
