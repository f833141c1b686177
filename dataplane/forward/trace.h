// What the packet path would do with one packet, and why, told by the packet path itself: the same source,
// compiled to tell instead of to remember (maglev/trace.h). Nothing that it reads is written.
//
//   const Traced traced = trace_packet({macs, next_hops, flows, worker, memory, generation, now_ms}, port,
//   mbuf);
//
// Runs on the control thread beside the workers: generations end on that thread alone, and the rest is read
// in words that are right by themselves, as workers read each other's.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/egress/next_hop.h"
#include "dataplane/egress/port_macs.h"
#include "dataplane/flow/flow_state.h"
#include "dataplane/forward/generation.h"
#include "dataplane/forward/traced.h"

struct rte_mbuf;

namespace linimo {

struct PipelineMemory;

struct TraceSetting {
  const PortMacs& port_macs;
  const NextHopTable& next_hops;
  std::span<const FlowState> flows;  // of all workers
  uint32_t worker;                   // which of them the packet would come to
  const PipelineMemory& memory;      // of that worker's pipeline
  const Generation* generation;      // null: none is live
  uint64_t now_ms;                   // of the workers' clock
};

/// Takes the frame.
Traced trace_packet(const TraceSetting& setting, uint32_t in_port, rte_mbuf* frame);

}  // namespace linimo
