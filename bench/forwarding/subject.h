// One point, ready to run: the traffic, and the worker with all that the daemon would give it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "bench/forwarding/point.h"
#include "bench/forwarding/supply.h"
#include "dataplane/dpdk/worker.h"
#include "dataplane/link/counters_memory.h"

namespace linimo::bench {

/// A core, and its port. The first is the calling thread's.
struct Station {
  unsigned lcore;
  dpdk::Lane lane;
  Supply& supply;
};

class Subject {
 public:
  /// Publishes the point's configuration and fills its connection tables. `stations`: at least as many as the
  /// point has workers, of which the first are used.
  Subject(const Point& point, std::span<const Station> stations);

  /// CPU time for a packet, ns; of several workers, what it would be if one did all that they do together.
  double round(uint64_t packets);

  struct Latency {
    Histogram stays;
    double ns;  // CPU time for a packet, of a worker that always polls
  };
  /// Of packets that come by chance, every `mean_ns` on average; one worker's.
  Latency latency(uint64_t packets, double mean_ns);

  /// The workers' packets, from now on.
  void go_in_lanes(const LanePath* lanes);

  /// What the floor computes for each packet besides, so that it is as slow as another.
  void compute_besides(uint64_t steps) { steps_ = steps; }

  uint64_t unstored() const { return unstored_; }  // flows that found no place while it was measured
  uint64_t dropped() const { return dropped_; }
  uint64_t displaced() const { return displaced_; }  // entries of the bystander that went
  double table_bytes_for_a_flow() const;             // 0: it tracks none

 private:
  struct Lane {
    Station station;
    Traffic traffic;
    Generation::Memory table;
    std::unique_ptr<dpdk::Worker> worker;
    Supply::Run run = {};
  };

  template <typename Feed>
  void on_all(Feed feed);
  void loop(Lane& lane);
  void feed(Traffic& traffic, Lane& lane, const Supply::Plan& plan, Meeting& meeting);
  void fill(Lane& lane);
  void check(const Lane& lane);
  uint64_t unmeasured() const;
  uint64_t bystanders() const;

  Point point_;
  uint64_t flows_made_for_;
  CountersMemory counters_;
  dpdk::Shared shared_;
  std::unique_ptr<Publication> publication_;
  std::vector<Lane> lanes_;
  uint64_t steps_ = 0;
  uint64_t unstored_ = 0, dropped_ = 0, displaced_ = 0;
};

}  // namespace linimo::bench
