// How many flows each backend still has: counted entry by entry while the sweep goes round a connection
// table, published when it has come round. So a packet pays nothing for it, and a count is at most two rounds
// old.
//
//   table.sweep(buckets, services, now, census);   // calls saw() for each live entry, then end_round()
//
// Belongs to the thread that sweeps; readers look at the counters.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "maglev/counters.h"

namespace linimo {

/// What a sweep needs to know of a service, by its id.
struct SweptService {
  uint16_t idle_timeout = 0;  // in units of the table's stamp; 0: there is no such service
  bool tcp = false;           // else UDP
};

class FlowCensus {
 public:
  /// `inherited`: an earlier process has counted there. Its counts stand until the first round is over.
  explicit FlowCensus(WorkerCounters& counters, bool inherited = false);

  void saw(uint32_t backend_id, bool tcp) {
    Count& count = counts_[backend_id];
    if (count.tcp == 0 && count.udp == 0) seen_.push_back(backend_id);
    ++(tcp ? count.tcp : count.udp);
  }
  void end_round();

 private:
  struct Count {
    uint32_t tcp, udp;
  };
  struct Free {
    void operator()(Count* counts) const { std::free(counts); }
  };

  WorkerCounters& counters_;
  std::unique_ptr<Count[], Free> counts_;  // by backend id; pages that no id in use lies in are never touched
  std::vector<uint32_t> seen_, published_;  // ids that have flows: in this round, in the last
};

}  // namespace linimo
