#include "dataplane/dpdk/stall_watch.h"

#include <fmt/format.h>

namespace linimo::dpdk {

void StallWatch::look() {
  for (Thread& thread : threads_) {
    const uint64_t rounds = __atomic_load_n(&counters_.worker(thread.row).rounds, __ATOMIC_RELAXED);
    thread.still_looks = std::exchange(thread.rounds, rounds) == rounds ? thread.still_looks + 1 : 0;
    if (thread.still_looks < kStalledLooks) {
      board_.set("dataplane-alive", thread.name, ConditionState::kHolds);
    } else {
      board_.set("dataplane-alive", thread.name, ConditionState::kFails,
                 fmt::format("it has stood still for over {} ms", (kStalledLooks - 1) * kPeriod.count()),
                 "restart linimo-dataplane");
    }
  }
}

}  // namespace linimo::dpdk
