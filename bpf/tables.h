/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The maps, and how the program finds its way through a generation's image.
 *
 * The process never refills what a packet may be reading: a new generation is a new image in the slot that is
 * not active, then one store switches `active`, which the program reads once per packet. Every access by cell
 * is bounded by the map itself; what is found there was validated before it became visible.
 */
#ifndef LINIMO_BPF_TABLES_H
#define LINIMO_BPF_TABLES_H

#include "hash.h"
#include "maglev/next_hop.h"
#include "packet.h"
#include "told.h"

/* Set before loading, one load per interface: its number among the ports, the row of its first queue, and how
 * many of its queues have rows. The last of all rows is spare: queues that came to be more share it. The
 * traced build is loaded once for all: there the process sets port and row for each frame. */
#ifdef LINIMO_TRACED
volatile __u32 port_number = 0;
volatile __u32 first_row = 0;
#else
const volatile __u32 port_number = 0;
const volatile __u32 first_row = 0;
#endif
const volatile __u32 queue_rows = 1;
const volatile __u32 row_count = 1;
const volatile __u32 bucket_count = 1; /* of connection tables */

/* The interface's own MAC address, as it lies in memory, in the first six bytes; the other two are zero. The
 * process writes it anew where the device's changes. */
volatile __u64 port_mac = 0;

struct page_map {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, LINIMO_PAGE_CELLS);
  __uint(key_size, sizeof(__u32));  // as sizes: clang leaves a type behind two pointers undefined in BTF
  __uint(value_size, LINIMO_CELL_BYTES);
};

/* The pages of one generation's image, then of the other's. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 2 * LINIMO_IMAGE_PAGES);
  __type(key, __u32);
  __array(values, struct page_map);
} images SEC(".maps");

/* Beside a generation's image, where slots of its adaptive services are not settled. These maps differ in
 * size, so that the kernel compiles a call for each look. */
struct unsettled_map {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, LINIMO_CELL_BYTES);
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 2);
  __type(key, __u32);
  __array(values, struct unsettled_map);
} unsettled SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct linimo_xdp_generations);
} generations SEC(".maps");

/* One connection table per row; all of one size, so that the kernel compiles their look-ups in line. Behind
 * them, of the same shape, what nodes of a fleet have told each other of flows, which the process writes. */
struct connections_map {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1); /* buckets */
  __uint(key_size, sizeof(__u32));
  __uint(value_size, LINIMO_CELL_BYTES);
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, LINIMO_MAX_ROWS + 1);
  __type(key, __u32);
  __array(values, struct connections_map);
} connections SEC(".maps");

/* What there is to tell other nodes of flows: each a struct linimo_flow_word. */
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, LINIMO_MAX_WORDS_BYTES);
} words SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1); /* rows */
  __type(key, __u32);
  __type(value, struct linimo_xdp_flows);
} flows SEC(".maps");

/* By row and backend id, sixteen in a cell: entries that no FIN has closed. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, LINIMO_CONNECTION_CELLS); /* times the rows */
  __type(key, __u32);
  __type(value, struct linimo_cell);
} open_connections SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, LINIMO_MAX_BACKEND_IDS);
  __type(key, __u32);
  __type(value, struct linimo_next_hop);
} next_hops SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, LINIMO_MAX_PORTS);
  __type(key, __u32);
  __type(value, struct linimo_xdp_port);
} ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1); /* rows */
  __type(key, __u32);
  __type(value, struct linimo_xdp_replies);
} replies SEC(".maps");

/* Never another interface's row. */
static __always_inline __u32 row_of_queue(__u32 queue) {
  return queue < queue_rows ? first_row + queue : row_count - 1;
}

/* One generation, as a packet sees it. */
struct generation {
  const struct linimo_xdp_head* head;
  __u32 active;
};

static __always_inline int live_generation(struct generation* generation) {
  const __u32 key = 0;
  const struct linimo_xdp_generations* both = bpf_map_lookup_elem(&generations, &key);
  if (!both) return 0;
  generation->active = *(const volatile __u64*)&both->active & 1;
  generation->head = &both->heads[generation->active];
  return 1;
}

/* The packet's generation in a function that is not inlined: it gets no more than the number of it. */
static __always_inline int same_generation(struct generation* generation, __u32 active) {
  const __u32 key = 0;
  const struct linimo_xdp_generations* both = bpf_map_lookup_elem(&generations, &key);
  if (!both) return 0;
  generation->active = active & 1;
  generation->head = &both->heads[active & 1];
  return 1;
}

/* In the lower half the tick as it was read last, in the upper the jiffy in which that was. */
volatile __u64 tick_read = 0;

/* That clock goes on by jiffies, which are read without a call: nobody asks it twice in one. */
static __always_inline __u32 ticks_now(void) {
  const __u64 jiffy = bpf_jiffies64() << 32, read = tick_read;
  if (read >> 32 << 32 == jiffy) return read;
  const __u32 ticks = bpf_ktime_get_coarse_ns() >> LINIMO_TICK_SHIFT;
  tick_read = jiffy | ticks;
  return ticks;
}

static __always_inline struct linimo_cell* cell(void* map, __u32 index) {
  return bpf_map_lookup_elem(map, &index);
}

/* Of the generation's image. */
static __always_inline struct linimo_cell* image_cell(const struct generation* generation, __u32 index) {
  __u32 key = generation->active * LINIMO_IMAGE_PAGES + index / LINIMO_PAGE_CELLS;
  void* page = bpf_map_lookup_elem(&images, &key);
  key = index % LINIMO_PAGE_CELLS;  // one variable: there is little stack
  return page ? bpf_map_lookup_elem(page, &key) : 0;
}

static __always_inline struct words masked_words(const struct words* address, __u32 bits) {
  const struct words masked = {address->high & linimo_high_mask(bits), address->low & linimo_low_mask(bits)};
  return masked;
}

/* The cell of a prefix' VIP. LINIMO_NO_CELL: it is none. */
#define LINIMO_NO_CELL 0 /* where the snapshot's header stands */
static __always_inline __u32 find_prefix(const struct generation* generation, const struct words* address,
                                         __u32 bits) {
  const struct linimo_xdp_head* head = generation->head;
  const struct words masked = masked_words(address, bits);
  const __u32 start = linimo_place_of_vip(masked.high, masked.low, bits);
  for (__u32 probe = 0; probe < LINIMO_VIP_PROBES; ++probe) {
    const __u32 at = head->vip_first + ((start + probe) & head->vip_mask);
    const struct linimo_xdp_vip* vip = (void*)image_cell(generation, at);
    if (!vip || vip->bits == LINIMO_EMPTY_VIP) break;
    if (vip->high == masked.high && vip->low == masked.low && vip->bits == bits) return at;
  }
  return LINIMO_NO_CELL;
}

struct vip_search {
  struct generation generation;
  struct words address;
  __u32 v4;
  __u32 at;
};

static long try_length(__u32 index, struct vip_search* search) {
  const struct linimo_xdp_head* head = search->generation.head;
  if (index >= sizeof head->lengths6 || (search->v4 && index >= sizeof head->lengths4)) return 1;
  search->at = find_prefix(&search->generation, &search->address,
                           search->v4 ? head->lengths4[index] : head->lengths6[index]);
  return search->at != LINIMO_NO_CELL;
}

static __always_inline void search_lengths(struct vip_search* search) {
  const struct linimo_xdp_head* head = search->generation.head;
  bpf_loop(search->v4 ? head->lengths4_count : head->lengths6_count, try_length, search, 0);
}

/* The cell of the VIP that an address belongs to, by its longest prefix. */
__noinline __u32 search_vips(__u32 active, __u64 high, __u64 low, __u32 v4) {
  struct vip_search search = {.address = {high, low}, .v4 = v4, .at = LINIMO_NO_CELL};
  if (!same_generation(&search.generation, active)) return LINIMO_NO_CELL;
  search_lengths(&search);
  return search.at;
}

/* 0: an address is none of those in a filter of the head, as is known without a look at the image. */
static __always_inline int is_in_filter(const struct linimo_xdp_head* head, const __u64* filter,
                                        const struct words* address, int v4) {
  const __u64 bit = v4 ? linimo_xdp_filter_bit(0, address->low & head->filter_mask4, head->filter_shift)
                       : linimo_xdp_filter_bit(address->high & head->filter_mask6[0],
                                               address->low & head->filter_mask6[1], head->filter_shift);
  return filter[bit / 64 % (LINIMO_MAX_FILTER_BITS / 64)] >> (bit % 64) & 1;
}

static __always_inline int may_be_vip(const struct linimo_xdp_head* head, const struct words* address,
                                      int v4) {
  return is_in_filter(head, head->filter, address, v4);
}

/* The VIP that an address belongs to, or none. A whole address in its first place is found without a call. */
static __always_inline const struct linimo_xdp_vip* find_vip(const struct generation* generation,
                                                             const struct words* address, int v4) {
  const struct linimo_xdp_head* head = generation->head;
  const __u32 start = linimo_place_of_vip(address->high, address->low, 128);
  const struct linimo_xdp_vip* vip =
      (void*)image_cell(generation, head->vip_first + (start & head->vip_mask));
  if (vip && vip->high == address->high && vip->low == address->low && vip->bits == 128) return vip;
  const __u32 at = search_vips(generation->active, address->high, address->low, v4);
  return at == LINIMO_NO_CELL ? 0 : (void*)image_cell(generation, at);
}

static __always_inline __u64 rule_at(const struct generation* generation, __u32 index) {
  const __u64 offset = generation->head->rules + (__u64)index * sizeof(struct linimo_rule);
  const struct linimo_cell* found = image_cell(generation, offset / LINIMO_CELL_BYTES);
  return found ? found->words[offset / 8 % 8] : ~0ULL;
}

/* A struct linimo_rule in a register: its protocol and last port, by which rules are sorted. */
static __always_inline __u32 end_of_rule(__u64 rule) {
  return rule >> 16;
}

struct rule_search {
  struct generation generation;
  __u32 low, count; /* what is left to search */
  __u32 wanted;
};

static long halve_rules(__u32 step, struct rule_search* search) {
  (void)step;
  if (search->count == 0) return 1;
  const __u32 half = search->count / 2;
  const int behind = end_of_rule(rule_at(&search->generation, search->low + half)) < search->wanted;
  search->low = behind ? search->low + half + 1 : search->low;
  search->count = behind ? search->count - half - 1 : half;
  return 0;
}

__noinline __u64 search_rules(__u32 active, __u32 first, __u32 count, __u32 wanted) {
  struct rule_search search = {.low = first, .count = count, .wanted = wanted};
  if (!same_generation(&search.generation, active)) return ~0ULL;
  bpf_loop(25, halve_rules, &search, 0);
  return search.low == first + count ? ~0ULL : rule_at(&search.generation, search.low);
}

/* The service of a port of a VIP: of the first of the VIP's rules that does not end before the port, if it
 * holds it. */
static __always_inline const struct linimo_xdp_service* find_service(const struct generation* generation,
                                                                     const struct linimo_xdp_vip* vip,
                                                                     __u8 protocol, __u16 port) {
  const __u32 wanted = (__u32)protocol << 16 | port;
  const __u32 count = vip->rule_count;
  __u64 rule = ~0ULL;
  if (count > LINIMO_VIP_RULES) {
    rule = search_rules(generation->active, vip->rule_first, count, wanted);
  } else {
    for (__u32 i = 0; i < LINIMO_VIP_RULES; ++i) {
      rule = vip->rules[i];
      if (end_of_rule(rule) >= wanted) break;
    }
  }
  if ((__u16)(rule >> 32) != protocol || (__u16)rule > port || (__u16)(rule >> 16) < port) return 0;
  LINIMO_TELL(told.rule = rule;)
  return (void*)image_cell(generation, generation->head->service_first + (__u32)(rule >> 48));
}

struct host_search {
  struct generation generation;
  struct words address;
  int found;
};

static long is_this_host(__u32 index, struct host_search* search) {
  struct linimo_cell* four = image_cell(&search->generation, search->generation.head->host_first + index / 4);
  if (!four) return 1;
  search->found = four->words[index % 4 * 2] == search->address.high &&
                  four->words[index % 4 * 2 + 1] == search->address.low;
  return search->found;
}

__noinline int is_host_address(__u32 active, __u64 high, __u64 low) {
  struct host_search search = {.address = {high, low}};
  if (!same_generation(&search.generation, active)) return 0;
  bpf_loop(search.generation.head->host_count, is_this_host, &search, 0);
  return search.found;
}

/* The host's, or one that tunnels begin at. */
__noinline int is_own_address(__u32 active, __u64 high, __u64 low) {
  struct host_search search = {.address = {high, low}};
  if (!same_generation(&search.generation, active)) return 0;
  bpf_loop(search.generation.head->own_count, is_this_host, &search, 0);
  return search.found;
}

/* A source that nobody may come from: a VIP, or an address of this node. */
static __always_inline int is_impostor(const struct generation* generation, const struct words* source,
                                       int v4) {
  return is_in_filter(generation->head, generation->head->source_filter, source, v4) &&
         (search_vips(generation->active, source->high, source->low, v4) != LINIMO_NO_CELL ||
          is_own_address(generation->active, source->high, source->low));
}

struct source_search {
  struct generation generation;
  struct words address;
  __u32 first;
  int found;
};

static long holds_source(__u32 index, struct source_search* search) {
  index += search->first;
  struct linimo_xdp_source* two =
      (void*)image_cell(&search->generation, search->generation.head->source_first + index / 2);
  if (!two) return 1;
  const struct linimo_xdp_source* source = &two[index & 1];
  const struct words masked = masked_words(&search->address, source->bits);
  search->found = source->v4 == (__u32)is_v4_words(&search->address) && masked.high == source->high &&
                  masked.low == source->low;
  return search->found;
}

__noinline int holds_address(__u32 active, __u32 first, __u32 count, __u64 high, __u64 low) {
  struct source_search search = {.address = {high, low}, .first = first};
  if (!same_generation(&search.generation, active)) return 0;
  bpf_loop(count, holds_source, &search, 0);
  return search.found;
}

static __always_inline int is_allowed(const struct generation* generation,
                                      const struct linimo_xdp_service* service, const struct words* address) {
  return service->source_count == 0 || holds_address(generation->active, service->source_first,
                                                     service->source_count, address->high, address->low);
}

static __always_inline const struct linimo_xdp_target* target_at(const struct generation* generation,
                                                                 __u32 at) {
  return (void*)image_cell(generation, at);
}

static __always_inline const struct linimo_xdp_target* target_of_id(const struct generation* generation,
                                                                    __u32 backend_id) {
  const struct linimo_xdp_head* head = generation->head;
  if (backend_id >= head->target_of_id_count) return 0;
  const struct linimo_cell* sixteen = image_cell(generation, head->target_of_id_first + backend_id / 16);
  if (!sixteen) return 0;
  const __u32 at = ((const __u32*)sixteen)[backend_id % 16];
  return at == 0 ? 0 : target_at(generation, at);
}

struct server_id_search {
  struct generation generation;
  __u64 id;
  __u32 first, count; /* among all server ids: those not ruled out */
  __u32 target;
};

/* Halves what is left to search. */
static long try_server_id(__u32 step, struct server_id_search* search) {
  (void)step;
  if (search->count == 0) return 1;
  const __u32 half = search->count / 2;
  const __u32 at = search->first + half;
  const struct linimo_xdp_server_id* four =
      (void*)image_cell(&search->generation, search->generation.head->server_id_first + at / 4);
  if (!four) return 1;
  const struct linimo_xdp_server_id* found = &four[at % 4];
  if (found->id == search->id) {
    search->target = found->target;
    return 1;
  }
  const int behind = found->id < search->id;
  search->first = behind ? at + 1 : search->first;
  search->count = behind ? search->count - half - 1 : half;
  return 0;
}

__noinline __u32 find_server_id(__u32 active, __u32 first, __u32 count, __u64 id) {
  struct server_id_search search = {.id = id, .first = first, .count = count};
  if (!same_generation(&search.generation, active)) return 0;
  bpf_loop(32, try_server_id, &search, 0);
  return search.target;
}

/* The backend of a QUIC server id of the service's pool, or none. */
static __always_inline const struct linimo_xdp_target* target_of_server_id(
    const struct generation* generation, const struct linimo_xdp_service* service, __u64 id) {
  const __u32 at = find_server_id(generation->active, service->backend_first, service->target_count, id);
  return at == 0 ? 0 : target_at(generation, at);
}

static __always_inline __u32 slot_of(__u64 hash, const struct linimo_xdp_service* service) {
  return linimo_slot_of(hash, service->table_size);
}

/* What a slot holds. `slots`: where the table begins. */
static __always_inline linimo_slot slot_at(const struct generation* generation, __u64 slots, __u32 slot) {
  const __u64 offset = slots + (__u64)slot * sizeof(linimo_slot);
  const struct linimo_cell* many = image_cell(generation, offset / LINIMO_CELL_BYTES);
  return many ? ((const linimo_slot*)many)[offset / 2 % 32] : LINIMO_NO_BACKEND;
}

/* The table's choice, or none where the pool has no live backend. */
static __always_inline const struct linimo_xdp_target* target_of_slot(
    const struct generation* generation, const struct linimo_xdp_service* service, __u32 slot) {
  const linimo_slot index = slot_at(generation, service->slots, slot);
  return index == LINIMO_NO_BACKEND ? 0 : target_at(generation, service->target_first + index);
}

/* Is there a service of this id? */
static __always_inline int has_service(const struct linimo_xdp_head* head, __u32 id) {
  return head->service_ids[id / 64 % (LINIMO_MAX_SERVICES / 64)] >> id % 64 & 1;
}

#endif
