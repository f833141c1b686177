// One point, ready to run: the traffic, and the worker with all that the daemon would give it.
#pragma once

#include <memory>

#include "bench/forwarding/point.h"
#include "bench/forwarding/supply.h"
#include "dataplane/dpdk/worker.h"
#include "dataplane/link/counters_memory.h"

namespace linimo::bench {

class Subject {
 public:
  /// Publishes the point's configuration and fills its connection table.
  Subject(const Point& point, Supply& supply, dpdk::Lane lane);

  /// CPU time for a packet, ns.
  double round(uint64_t packets);

  uint64_t unstored() const { return unstored_; }  // flows that found no place while it was measured
  double table_bytes_for_a_flow() const;           // 0: it tracks none

 private:
  void fill();
  void check(uint64_t sent, uint64_t delivered) const;

  Point point_;
  Supply& supply_;
  dpdk::Lane lane_;
  Traffic traffic_;
  uint64_t flows_made_for_;
  Generation::Memory table_memory_;
  CountersMemory counters_{1};
  std::unique_ptr<Publication> publication_;
  dpdk::Shared shared_;
  std::unique_ptr<dpdk::Worker> worker_;
  uint64_t unstored_ = 0;
};

}  // namespace linimo::bench
