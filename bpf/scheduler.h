/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Who gets a new flow of a service whose scheduler keeps state: dataplane/forward/scheduler.cc
 * for each receive queue by itself, with the arithmetic of maglev/rules/schedule.h. All of it is off the way
 * of flows that are known.
 */
#ifndef LINIMO_BPF_SCHEDULER_H
#define LINIMO_BPF_SCHEDULER_H

#include "connections.h"
#include "maglev/rules/schedule.h"

struct part_search {
  struct generation generation;
  __u64 place;
  __u32 first, count; /* among all backends: those not ruled out */
};

/* Halves what is left to search. */
static long halve_parts(__u32 step, struct part_search* search) {
  (void)step;
  if (search->count == 0) return 1;
  const __u32 half = search->count / 2;
  const __u32 at = search->first + half;
  const struct linimo_cell* eight =
      image_cell(&search->generation, search->generation.head->part_first + at / 8);
  if (!eight) return 1;
  const int behind = eight->words[at % 8] <= search->place;
  search->first = behind ? at + 1 : search->first;
  search->count = behind ? search->count - half - 1 : half;
  return 0;
}

/* The member in whose part of the line a turn lies: the first whose part ends behind it. */
__noinline __u32 member_at(__u32 active, __u32 backend_first, __u32 members, __u32 turn) {
  struct part_search search = {.first = backend_first, .count = members};
  if (members == 0 || !same_generation(&search.generation, active)) return LINIMO_NO_BACKEND;
  const __u32 last = backend_first + members - 1;
  const struct linimo_cell* eight =
      image_cell(&search.generation, search.generation.head->part_first + last / 8);
  if (!eight) return LINIMO_NO_BACKEND;
  search.place = linimo_place_of_turn(turn, eight->words[last % 8]);
  bpf_loop(17, halve_parts, &search, 0);
  return search.first - backend_first;
}

struct draw {
  __u64 slots;
  __u32 active; /* all that is needed of the generation: there is little stack */
  __u32 table_size;
  __u32 at;
  __u32 first, second;
};

static long draw_another(__u32 step, struct draw* draw) {
  (void)step;
  const struct generation generation = {.active = draw->active};
  draw->second = slot_at(&generation, draw->slots, draw->at);
  draw->at = linimo_slot_behind(draw->at, draw->table_size);
  return draw->second != draw->first;
}

/* Of two different members that the flow's hash draws from the table the one with fewer connections for its
 * weight. */
__noinline __u32 least_connected(__u32 active, const struct linimo_xdp_service* service, __u64 hash,
                                 __u32 row) {
  if (!service) return LINIMO_NO_BACKEND;
  const struct generation generation = {.active = active & 1};
  struct draw draw = {
      .slots = service->slots, .active = generation.active, .table_size = service->table_size};
  draw.first = draw.second = slot_at(&generation, draw.slots, slot_of(hash, service));
  draw.at = linimo_second_draw(hash, service->table_size);
  bpf_loop(LINIMO_DRAWS, draw_another, &draw, 0);
  if (draw.first >= service->members || draw.second >= service->members) return draw.first;
  const struct linimo_xdp_target* first = target_at(&generation, service->target_first + draw.first);
  const struct linimo_xdp_target* second = target_at(&generation, service->target_first + draw.second);
  if (!first || !second) return draw.first;
  const __u32* of_first = open_connections_of(row, first->backend_id);
  const __u32* of_second = open_connections_of(row, second->backend_id);
  if (!of_first || !of_second) return draw.first;
  return linimo_takes_second(*of_first, first->weight, *of_second, second->weight) ? draw.second : draw.first;
}

/* An index into the pool's backends, or LINIMO_NO_BACKEND: it has no members. */
__noinline __u32 scheduled_member(__u32 active, const struct linimo_xdp_service* service, __u64 hash,
                                  __u32 row) {
  struct linimo_xdp_flows* counts = bpf_map_lookup_elem(&flows, &row);
  if (!service || !counts || service->members == 0) return LINIMO_NO_BACKEND;
  if (service->scheduler == LINIMO_SCHEDULER_LEAST_CONNECTIONS)
    return least_connected(active, service, hash, row);
  __u32* const turns = &counts->turns[service->id & LINIMO_FLOW_SERVICE_MASK];
  LINIMO_TELL(const __u32 turn = *turns;)
  // Several CPUs may run one queue: each turn is taken once.
  LINIMO_UNTRACED(const __u32 turn = __sync_fetch_and_add(turns, 1);)
  if (service->scheduler == LINIMO_SCHEDULER_ROUND_ROBIN) return turn % service->members;
  return member_at(active, service->backend_first, service->members, turn);
}

#endif
