/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What the build for captures notes of a packet, on the CPU that it is on, as it forwards it. LINIMO_NOTE has
 * a statement that only that build has.
 */
#ifndef LINIMO_BPF_CAPTURED_H
#define LINIMO_BPF_CAPTURED_H

#include "packet.h"

#ifdef LINIMO_CAPTURED
#include "maglev/abi.h"
#include "maglev/rules/capture.h"

#define LINIMO_NOTE(...) __VA_ARGS__

struct capture_of_cpu {
  struct linimo_capture_rate rate;
  __u64 missed;
  struct linimo_captured packet;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct capture_of_cpu);
} capture_cpus SEC(".maps");

static __always_inline struct capture_of_cpu* capture_here(void) {
  const __u32 only = 0;
  return bpf_map_lookup_elem(&capture_cpus, &only);
}

static __always_inline void note_outcome(__u32 outcome) {
  struct capture_of_cpu* here = capture_here();
  if (here) here->packet.outcome = outcome;
}

static __always_inline void note_target(__u32 backend, __u32 service, __u32 encapsulation) {
  struct capture_of_cpu* here = capture_here();
  if (!here) return;
  here->packet.backend = backend;
  here->packet.service = service;
  here->packet.encapsulation = encapsulation;
}

static __always_inline void note_way(__u32 port, int fragmented) {
  struct capture_of_cpu* here = capture_here();
  if (!here) return;
  here->packet.out_port = port;
  here->packet.fragmented = fragmented;
}
#else
#define LINIMO_NOTE(...)
#endif

#endif
