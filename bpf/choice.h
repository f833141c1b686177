/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Which backend a packet goes to, in the order of maglev/rules/choice.h, and what is remembered of that. The
 * other engine's are dataplane/forward/pipeline.cc's recall() and target_of_slot().
 */
#ifndef LINIMO_BPF_CHOICE_H
#define LINIMO_BPF_CHOICE_H

#include "connections.h"
#include "maglev/rules/choice.h"
#include "quic.h"
#include "scheduler.h"
#include "sharing.h"
#include "unsettled.h"

/* What one stage leaves for the next. It is spread over registers, so no function that is not inlined may get
 * a pointer into it: see in_memory(). */
struct flow {
  struct packet packet;
  struct generation generation;
  const struct linimo_xdp_service* service;
  const struct linimo_xdp_target* target;
  __u64 hash;
  __u32 row;
  __u32 service_id;
  __u32 slot;               /* of the pool's table */
  __u32 block;              /* of the unsettled, if the slot is */
  enum linimo_outcome sent; /* what it counts as when it goes to a backend */
  struct packet* copy;
};

/* The packet, for functions that are not inlined: they are off the fast path. */
static __always_inline const struct packet* in_memory(const struct flow* flow) {
  *flow->copy = flow->packet;
  return flow->copy;
}

static __always_inline int drop(const struct flow* flow, enum linimo_outcome reason) {
  count_outcome(flow->row, reason);
  return XDP_DROP;
}

/* `key`: of the whole flow, as its client's packets have it. */
static __always_inline void hash_key(struct flow* flow, const struct flow_key* key) {
  const int whole = !flow->service->source_hash;
  const struct words destination = {whole ? key->destination.high : 0, whole ? key->destination.low : 0};
  const __u32 ports = key->source_port | (__u32)key->destination_port << 16;
  flow->service_id = flow->service->id;
  LINIMO_TELL(told.service = flow->service_id; told.reached = LINIMO_TRACE_ALLOWED;)
  flow->hash = hash_addresses(flow->generation.head, &key->source, &destination,
                              whole ? linimo_key_end(ports, key->protocol) : 0, flow->packet.v6);
}

static __always_inline int is_usable(const struct flow* flow, const struct linimo_xdp_target* target) {
  return target && target->pool == flow->service->pool && target->alive;
}

/* The backend that a QUIC packet's connection id names, while that lives. */
static __always_inline const struct linimo_xdp_target* named_target(struct xdp_md* ctx,
                                                                    const struct flow* flow) {
  const struct linimo_xdp_service* service = flow->service;
  if (service->server_id_length == 0) return 0;
  const struct packet* p = &flow->packet;
  const struct server_id_place place = {service->server_id_offset, service->server_id_length};
  __u64 id = 0;
  if (!quic_server_id(ctx, p->ip + p->l4, p->ip_length - p->l4, &place, &id)) return 0;
  const struct linimo_xdp_target* target = target_of_server_id(&flow->generation, service, id);
  return is_usable(flow, target) ? target : 0;
}

/* In the place of a flow's block: the packet names its backend, so that nothing else is asked for it. A word
 * of its own would be more than the stack holds. */
enum { kNamed = 0x7fffffff };

/* Is the flow tracked? */
static __always_inline int find_slot(struct flow* flow) {
  flow->slot = slot_of(flow->hash, flow->service);
  flow->block = unsettled_block(&flow->generation, flow->service, flow->slot);
  LINIMO_TELL(told.hash = flow->hash; told.slot = flow->slot; told.table_size = flow->service->table_size;
              told.unsettled = flow->block != 0;
              told.tracked = linimo_is_tracked(flow->service->tracked, flow->block != 0);)
  return linimo_is_tracked(flow->service->tracked, flow->block != 0);
}

/* Where a stranger sends what begins no flow, on a slot that is not settled, while that counts and lives.
 * `base`: of base_of_slot(). */
static __always_inline const struct linimo_xdp_target* target_of_base(const struct flow* flow, __u64 base) {
  const __u32 index = base;
  const struct linimo_xdp_target* target =
      index == LINIMO_NO_BACKEND ? 0 : target_at(&flow->generation, flow->service->target_first + index);
  return target && target->alive ? target : 0;
}

/* Where a flow that is not tracked goes, or none. */
static __always_inline const struct linimo_xdp_target* target_of_unknown(const struct flow* flow,
                                                                         int begins) {
  if (linimo_asks_base(flow->block != 0, begins)) {
    const struct linimo_xdp_target* target = 0;
    if (flow->service->shares_flows) {
      const __u64 word = word_of_flow(flow->hash, flow->service_id, flow->service->idle_ticks);
      target = word == 0 ? 0 : target_of_id(&flow->generation, linimo_flow_backend(word));
      LINIMO_TELL(told.decider = LINIMO_TRACE_BY_WORD;)
      if (is_usable(flow, target)) return target;
    }
    target = target_of_base(flow, base_of_slot(flow->generation.active, flow->block, flow->slot));
    LINIMO_TELL(told.decider = LINIMO_TRACE_BY_BASE;)
    if (target) return target;
  }
  LINIMO_TELL(told.decider = LINIMO_TRACE_BY_SLOT;)
  return target_of_slot(&flow->generation, flow->service, flow->slot);
}

/* Where a packet of an unknown flow goes, if that can be stored, of a service whose scheduler keeps state. */
static __always_inline const struct linimo_xdp_target* scheduled_target(const struct flow* flow) {
  const struct packet* p = &flow->packet;
  if (linimo_is_midway(p->protocol, p->tcp_flags)) {
    const __u64 found =
        find_flow_anywhere(flow->row, flow->hash, flow->service_id, flow->service->idle_ticks);
    const struct linimo_xdp_target* tracked =
        found == 0 ? 0 : target_of_id(&flow->generation, linimo_flow_backend(found));
    LINIMO_TELL(if (is_usable(flow, tracked)) told.decider = LINIMO_TRACE_BY_ENTRY;)
    return is_usable(flow, tracked) ? tracked : flow->target;
  }
  const __u32 member = scheduled_member(flow->generation.active, flow->service, flow->hash, flow->row);
  const struct linimo_xdp_target* target =
      member == LINIMO_NO_BACKEND ? 0 : target_at(&flow->generation, flow->service->target_first + member);
  LINIMO_TELL(if (target) told.decider = LINIMO_TRACE_BY_SCHEDULER;)
  return target ? target : flow->target;
}

/* Keeps the slot from settling while packets deviate. */
static __always_inline void note_deviation(const struct flow* flow) {
  const struct linimo_xdp_target* current = target_of_slot(&flow->generation, flow->service, flow->slot);
  if (linimo_deviates(flow->target->backend_id, current ? current->backend_id : LINIMO_MAX_BACKEND_IDS))
    slot_deviated(flow->generation.active, flow->block, flow->slot, flow->row);
}

/* A flow that is followed, on a slot that is not settled: would another node send it elsewhere? */
static __always_inline void tell_others(const struct flow* flow) {
  const __u64 learning = base_of_slot(flow->generation.active, flow->block, flow->slot);
  const struct linimo_xdp_target* base = target_of_base(flow, learning);
  const struct linimo_xdp_target* current = target_of_slot(&flow->generation, flow->service, flow->slot);
  const __u32 goes = flow->target->backend_id, none = LINIMO_MAX_BACKEND_IDS;
  const int wanted =
      linimo_is_to_be_told(goes, current ? current->backend_id : none, base ? base->backend_id : none, none,
                           (__s32)(learning >> 32), flow->service->idle_ticks);
  const int ends = flow->packet.tcp_flags & LINIMO_FIN;
  if (wanted || ends)
    say_word(flow->hash, flow->service_id, flow->service->idle_ticks, goes,
             (wanted ? kWordWanted : 0) | (ends ? kWordEnds : 0));
}

/* The backend, in the order of maglev/rules/choice.h. */
enum { kNoTarget, kChosen, kFollowed /* an entry, and might be told of */ };
static __always_inline int find_target(struct flow* flow, int tracks) {
  const struct linimo_xdp_service* service = flow->service;
  const int leaves_a_trace = linimo_leaves_a_trace(flow->packet.tcp_flags);
  const int begins = linimo_begins_connection(flow->packet.tcp_flags);
  __u64 found = 0;
  __u32 now = 0;
  int live = 0;
  if (tracks) {
    found = find_flow(flow->row, flow->hash, flow->service_id);
    now = ticks_now();
    live = found != 0 && !is_expired(found, service->idle_ticks, now);
    if (live) {
      const struct linimo_xdp_target* tracked = target_of_id(&flow->generation, linimo_flow_backend(found));
      const int usable = is_usable(flow, tracked);
      const int may_have_ended = linimo_flow_may_have_ended(found, now, LINIMO_TICKS);
      const enum linimo_entry_use use =
          linimo_use_of_entry(usable, flow->target && flow->target != tracked, begins,
                              usable && tracked->alive != LINIMO_XDP_NO_NEW_FLOWS, may_have_ended);
      LINIMO_TELL(told.entry = found; told.entry_age = linimo_flow_age(found, now); told.entry_use = 1 + use;
                  told.memory = use == LINIMO_ENTRY_REDIRECTED                   ? LINIMO_TRACE_KEEPS_MOVE
                                : use == LINIMO_ENTRY_FOLLOWED && leaves_a_trace ? LINIMO_TRACE_KEEPS_TOUCH
                                                                                 : LINIMO_TRACE_KEEPS_NOTHING;
                  if (use == LINIMO_ENTRY_FOLLOWED) told.decider = LINIMO_TRACE_BY_ENTRY;)
      if (use == LINIMO_ENTRY_FOLLOWED) {
        flow->target = tracked;
        if (linimo_is_repeated_syn(begins, may_have_ended))
          count_repeated_syn(flow->row, tracked->backend_id);
        const __u64 next = linimo_flow_touched(found, flow->packet.tcp_flags & LINIMO_FIN, begins, now);
        if (next != found && leaves_a_trace)
          replace_flow(flow->row, flow->hash, flow->service_id, found, next);
        return leaves_a_trace && !begins ? kFollowed : kChosen;
      }
      live = use == LINIMO_ENTRY_REDIRECTED;
    }
  }
  if (!flow->target) flow->target = target_of_unknown(flow, begins);
  if (!flow->target) return kNoTarget;
  if (live) {
    const __u64 next = linimo_flow_with_backend(found, flow->target->backend_id);
    replace_flow(flow->row, flow->hash, flow->service_id, found, next);
  } else if (tracks && leaves_a_trace) {
    if (found != 0) clear_flow(flow->row, flow->hash, flow->service_id, found);
    const struct linimo_xdp_target* target =
        service->members == 0 || flow->block == kNamed ? flow->target : scheduled_target(flow);
    const __u32 backend_id = target->backend_id;
    const struct wanted_flow want = {flow->hash, flow->row, flow->service_id, backend_id, service->idle_ticks,
                                     now,        0};
    if (remember_flow(&want)) flow->target = target;
    LINIMO_TELL(if (told.memory == LINIMO_TRACE_NO_ROOM && service->members != 0 && flow->block != kNamed)
                    told.decider = LINIMO_TRACE_BY_SLOT;)
  }
  return kChosen;
}

static __always_inline int choose(struct xdp_md* ctx, struct flow* flow) {
  flow->target = named_target(ctx, flow);
  const int tracks = find_slot(flow);
  if (flow->target) flow->block = kNamed;
  LINIMO_TELL(told.decider = flow->target ? LINIMO_TRACE_BY_NAME : LINIMO_TRACE_BY_NOBODY;)
  const int found = find_target(flow, tracks);
  if (found == kNoTarget) return 0;
  if (linimo_tells_of_slot(flow->block != 0, flow->block == kNamed)) {
    note_deviation(flow);
    if (found == kFollowed && flow->service->shares_flows) tell_others(flow);
  }
  return 1;
}

#endif
