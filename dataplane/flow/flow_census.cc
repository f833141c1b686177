#include "dataplane/flow/flow_census.h"

#include <new>

namespace linimo {
namespace {

constexpr size_t kUsualBackends = 4096;

}  // namespace

FlowCensus::FlowCensus(WorkerCounters& counters, bool inherited)
    : counters_(counters), counts_(static_cast<Count*>(std::calloc(LINIMO_MAX_BACKEND_IDS, sizeof(Count)))) {
  if (!counts_) throw std::bad_alloc();
  seen_.reserve(kUsualBackends);
  published_.reserve(kUsualBackends);
  for (uint32_t id = 0; inherited && id < LINIMO_MAX_BACKEND_IDS; ++id) {
    const TrafficCount& backend = counters_.backends[id];
    if (backend.tcp_flows != 0 || backend.udp_flows != 0) published_.push_back(id);
  }
}

void FlowCensus::end_round() {
  const auto publish = [this](uint32_t id) {
    __atomic_store_n(&counters_.backends[id].tcp_flows, counts_[id].tcp, __ATOMIC_RELAXED);
    __atomic_store_n(&counters_.backends[id].udp_flows, counts_[id].udp, __ATOMIC_RELAXED);
  };
  for (const uint32_t id : published_) publish(id);  // of those that have none any more: none
  for (const uint32_t id : seen_) {
    publish(id);
    counts_[id] = {};
  }
  published_.swap(seen_);
  seen_.clear();
  // Whoever sees the round sees its counts.
  __atomic_store_n(&counters_.census_rounds, counters_.census_rounds + 1, __ATOMIC_RELEASE);
}

}  // namespace linimo
