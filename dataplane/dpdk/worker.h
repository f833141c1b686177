// A poll-mode worker: one core, its own queues, its own connection table, its own counters.
#pragma once

#include <atomic>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dataplane/dpdk/eal.h"
#include "dataplane/dpdk/kernel_path.h"
#include "dataplane/dpdk/worker_capture.h"
#include "dataplane/flow/flow_removal.h"
#include "dataplane/forward/flow_sharing.h"
#include "dataplane/forward/pipeline.h"
#include "dataplane/forward/publication.h"

namespace linimo::dpdk {

/// The workers' clock: milliseconds since the machine was started, so that what is stamped by it can be read
/// by the next process. (The time stamp counter's rate is measured anew by each.)
inline uint64_t worker_clock_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

/// What all workers share.
struct Shared {
  Publication* publication = nullptr;
  std::atomic<bool> running = true;
  NextHopTable next_hops;
  const LanePath* lanes = nullptr;  // by which packets go eight at a time, if they do
  PortMacs macs;                    // of the interfaces; the control thread may write one anew
  std::vector<FlowState> flows;     // one for each worker, made before the first of them
  std::unique_ptr<FlowSharing> sharing;
};

class Worker {
 public:
  struct Source {
    uint32_t interface;
    Lane lane;
  };

  /// `receive`: the lanes that are this worker's; `transmit`: its lane out of each interface. `exception`:
  /// may be null where there is no kernel path (then such frames are dropped as kernel_full).
  Worker(uint32_t index, Shared& shared, std::vector<Source> receive, std::vector<Lane> transmit,
         WorkerCounters& counters, KernelPath* exception, bool busy);

  /// The loop, until `shared.running` is false. To be run on the worker's lcore.
  void run();

  /// Otherwise than `shared` says; not while it runs.
  void go_in_lanes(const LanePath* lanes) { pipeline_.go_in_lanes(lanes); }
  /// For a trace, on any thread (Pipeline::memory).
  const PipelineMemory& memory() const { return pipeline_.memory(); }
  /// Control thread: by which a capture begins and ends.
  CaptureSlot& capture() { return capture_; }
  /// Control thread: has entries of its connection table removed, at most FlowRemoval::kMost, and says how
  /// many were; nothing: it did not do so within a tenth of a second.
  std::optional<size_t> remove_flows(std::span<const FlowPlace> places);

 private:
  bool poll(const Source& source, const Generation* generation);
  void run(std::span<rte_mbuf* const> burst, uint32_t interface, const Generation* generation);
  void run_watched(std::span<rte_mbuf* const> burst, uint32_t interface, const Generation* generation);
  void flush(uint32_t interface);
  bool inject();
  /// How many the queue took; the rest are freed.
  uint16_t transmit(uint32_t interface, std::span<rte_mbuf*> frames);
  void hand_to_kernel(uint32_t interface, MbufList& frames, KernelPath::Rank rank);
  bool housekeeping(uint64_t tsc, const Generation* generation);
  void rest(uint32_t empty_rounds);

  uint32_t index_;
  Shared& shared_;
  std::vector<Source> receive_;
  std::vector<Lane> transmit_;
  FlowState& flows_;
  FlowRemoval removal_;
  CaptureSlot capture_;
  WorkerCounters& counters_;
  FlowCensus census_;
  KernelPath* exception_;
  bool busy_;
  Pipeline pipeline_;
  BurstOutput out_;
  uint64_t tsc_hz_;
  uint64_t next_housekeeping_ = 0;
  uint64_t now_ms_ = 0;
};

}  // namespace linimo::dpdk
