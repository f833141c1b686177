// Whether the threads that forward go round: each counts its rounds in its row of the counters, and one that
// has not counted on for a while stands still (stopped by a debugger, spinning, starved). Then nothing on its
// queues is forwarded, and the node must not attract traffic: the condition `dataplane-alive` of that thread.
//
//   StallWatch stalls(counters, rows, board);
//   every kPeriod: stalls.look();
//
// Counts its own looks, not time: a process that was stopped whole is judged by nobody here. Control thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/conditions.h"
#include "maglev/counters.h"

namespace linimo::dpdk {

class StallWatch {
 public:
  static constexpr std::chrono::milliseconds kPeriod{250};
  static constexpr uint32_t kStalledLooks = 5;

  StallWatch(const CountersBlock& counters, ConditionBoard& board) : counters_(counters), board_(board) {}

  /// From now on the thread that has this row; `name`: as the operator knows it.
  void follow(uint32_t row, std::string name) { threads_.push_back({row, std::move(name), 0, 0}); }
  void look();

 private:
  struct Thread {
    uint32_t row;
    std::string name;
    uint64_t rounds;
    uint32_t still_looks;
  };
  const CountersBlock& counters_;
  ConditionBoard& board_;
  std::vector<Thread> threads_;
};

}  // namespace linimo::dpdk
