/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The counters, in the layout of maglev/counters.h: a block of a page, then a row of counters per receive
 * queue. The map's values are as large as one count of traffic, 32 bytes, so that each is reached by one
 * index.
 *
 * A queue's packets are handled by one CPU at a time, so an addition need not be atomic.
 */
#ifndef LINIMO_BPF_COUNT_H
#define LINIMO_BPF_COUNT_H

#include "captured.h"
#include "tables.h"

/* In the last word the process counts flows. */
struct traffic {
  __u64 packets, bytes, new_flows, reserved;
};

enum {
  kCountCell = 32,
  kCountersFirst = 4096 / kCountCell,
  kCountersOutcomes = 0,
  kCountersUnstored = 544 / kCountCell, /* flows_unstored is the first word of this cell */
  kCountersServices = 576 / kCountCell,
  kCountersBackends = kCountersServices + LINIMO_MAX_SERVICES + 2,
  kCountersRepeated = kCountersBackends + LINIMO_MAX_BACKEND_IDS,
  kCountersRow = 10620928 / kCountCell,
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1); /* all rows */
  __type(key, __u32);
  __type(value, struct traffic);
} counters SEC(".maps");

static __always_inline struct traffic* counter_cell(__u32 row, __u32 index) {
  index += kCountersFirst + row * kCountersRow;
  return bpf_map_lookup_elem(&counters, &index);
}

static __always_inline void count_outcome(__u32 row, enum linimo_outcome outcome) {
  LINIMO_TELL(told.outcome = outcome; return;)
  LINIMO_NOTE(note_outcome(outcome);)
  __u64* four = (__u64*)counter_cell(row, kCountersOutcomes + outcome / 4);
  if (four) ++four[outcome % 4];
}

static __always_inline void count_traffic(__u32 row, __u32 index, __u32 bytes) {
  LINIMO_TELL(return;)
  struct traffic* traffic = counter_cell(row, index);
  if (!traffic) return;
  ++traffic->packets;
  traffic->bytes += bytes;
}

static __always_inline void count_new_flow(__u32 row, __u32 service_id, __u32 backend_id) {
  struct traffic* service = counter_cell(row, kCountersServices + service_id);
  struct traffic* backend = counter_cell(row, kCountersBackends + backend_id);
  if (service) ++service->new_flows;
  if (backend) ++backend->new_flows;
}

static __always_inline void count_repeated_syn(__u32 row, __u32 backend_id) {
  LINIMO_TELL(return;)
  __u64* four = (__u64*)counter_cell(row, kCountersRepeated + backend_id / 4);
  if (four) ++four[backend_id % 4];
}

static __always_inline void count_unstored(__u32 row) {
  __u64* four = (__u64*)counter_cell(row, kCountersUnstored);
  if (four) ++four[0];
}

#endif
