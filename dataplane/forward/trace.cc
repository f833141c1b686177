#include "dataplane/forward/trace.h"

#include <memory>
#include <new>

#include <rte_mbuf.h>
#include <sys/mman.h>

#include "dataplane/forward/pipeline.h"

namespace linimo {
namespace {

struct Unmapped {
  void operator()(WorkerCounters* counters) const { munmap(counters, sizeof *counters); }
};

/// What the packet would be counted as. Pages that nobody touches cost nothing; they are as aligned as
/// counters are to be.
std::unique_ptr<WorkerCounters, Unmapped> scratch_counters() {
  void* memory =
      mmap(nullptr, sizeof(WorkerCounters), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return std::unique_ptr<WorkerCounters, Unmapped>(static_cast<WorkerCounters*>(memory));
}

void take(MbufList& list, linimo_outcome outcome, Traced& traced) {
  for (uint32_t i = 0; i < list.count; ++i) {
    const rte_mbuf* mbuf = list.mbufs[i];
    const auto* bytes = rte_pktmbuf_mtod(mbuf, const uint8_t*);
    traced.frames.emplace_back(bytes, bytes + mbuf->data_len);
    traced.told.outcome = outcome;
    rte_pktmbuf_free(list.mbufs[i]);
  }
}

}  // namespace

void Pipeline::tell_rule(const Generation& generation, uint32_t vip, uint8_t protocol, uint16_t port) const {
  const linimo_rule* rule = generation.rule(vip, protocol, packet::swap16(port));
  static_assert(sizeof *rule == sizeof told_.rule);
  if (rule != nullptr) std::memcpy(&told_.rule, rule, sizeof *rule);
}

void Pipeline::tell_slot(const Packet& packet) const {
  const ServiceView& service = *packet.service;
  told_.hash = packet.hash;
  told_.slot = packet.slot;
  told_.table_size = service.table_size;
  told_.unsettled = service.is_settled(packet.slot) ? 0 : 1;
  told_.tracked = service.tracks(packet.slot) ? 1 : 0;
}

void Pipeline::tell_entry(ConnectionTable::Entry entry, linimo_entry_use use, bool touches,
                          uint32_t now_s) const {
  told_.entry = *entry;
  told_.entry_age = linimo_flow_age(*entry, now_s) * 1000;
  told_.entry_use = 1 + use;
  if (use == LINIMO_ENTRY_FOLLOWED) told_.decider = LINIMO_TRACE_BY_ENTRY;
  told_.memory = use == LINIMO_ENTRY_REDIRECTED            ? LINIMO_TRACE_KEEPS_MOVE
                 : use == LINIMO_ENTRY_FOLLOWED && touches ? LINIMO_TRACE_KEEPS_TOUCH
                                                           : LINIMO_TRACE_KEEPS_NOTHING;
}

void Pipeline::tell_target(const Target& target, const NextHopTable::Raw& hop) const {
  told_.reached = LINIMO_TRACE_CHOSEN;
  told_.backend = target.backend_id;
  told_.keeps_only = target.takes_new_flows ? 0 : 1;
  told_.encapsulation = target.tunnel.encapsulation;
  told_.header_length = target.tunnel.header_length;
  told_.way = hop.mac();
  told_.tags = hop.tags();
  told_.mtu = hop.mtu();
}

Traced trace_packet(const TraceSetting& setting, uint32_t in_port, rte_mbuf* frame) {
  Traced traced;
  traced.told.row = setting.worker;
  traced.told.outcome = LINIMO_OUTCOME_COUNT;
  if (setting.generation != nullptr) traced.told.generation = setting.generation->number();
  const auto counters = scratch_counters();
  const auto pipeline = std::make_unique<Pipeline>(setting.port_macs, setting.next_hops, setting.flows,
                                                   setting.worker, *counters, setting.memory, traced.told);
  const auto out = std::make_unique<BurstOutput>();
  pipeline->run({&frame, 1}, in_port, setting.generation, setting.now_ms, *out);

  for (uint32_t outcome = 0; outcome < LINIMO_OUTCOME_COUNT; ++outcome) {
    if (counters->outcomes[outcome] != 0) traced.told.outcome = outcome;
  }
  take(out->kernel, LINIMO_OUTCOME_kernel, traced);
  take(out->answers, LINIMO_OUTCOME_kernel, traced);
  take(out->control, LINIMO_OUTCOME_kernel_control, traced);
  for (uint32_t port = 0; port < kMaxPorts; ++port) {
    TransmitList& sent = out->transmit[port];
    if (sent.count == 0) continue;
    traced.port = port;
    take(sent, static_cast<linimo_outcome>(sent.counted_as[sent.count - 1]), traced);
  }
  traced.told.pieces = static_cast<uint32_t>(traced.frames.size());
  return traced;
}

}  // namespace linimo
