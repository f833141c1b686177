// One worker's part of a capture: it copies what the filter wants into a ring of its own, which the control
// thread empties. What the ring does not hold, and what comes faster than it may, is missed and counted; the
// worker never waits.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "dataplane/capture/capture.h"
#include "dataplane/forward/pipeline.h"

namespace linimo::dpdk {

class WorkerCapture {
 public:
  WorkerCapture(const CaptureRequest& request, uint32_t worker);

  /// Worker: a place for a packet that the filter wants, with the frame as it came; nullptr: it is not for
  /// the capture. `now_ns`: since 1970.
  linimo_captured* begin(const rte_mbuf* mbuf, uint32_t in_port);
  /// Worker: where it went, and what is about to leave.
  void note(const Fate& fate, const BurstOutput& out);
  /// Worker: all of it is known.
  void commit() { written_.store(written_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  /// Control thread.
  bool read(const Capture::Take& take);
  uint64_t missed() const { return missed_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint64_t kRoom = 512;

  linimo_captured& at(uint64_t number) { return ring_[number % kRoom]; }
  linimo_captured* miss();

  const CaptureRequest request_;
  const uint32_t worker_;
  linimo_capture_rate rate_{};
  std::unique_ptr<linimo_captured[]> ring_;
  alignas(64) std::atomic<uint64_t> written_ = 0;  // by the worker
  std::atomic<uint64_t> missed_ = 0;
  alignas(64) std::atomic<uint64_t> read_ = 0;  // by the control thread
};

/// Hands a worker its part and takes it back. The worker looks about once a millisecond, so it costs a burst
/// no more than a test of what it holds already.
class CaptureSlot {
 public:
  /// Control thread.
  void offer(WorkerCapture* capture) {
    offered_.store(capture, std::memory_order_relaxed);
    offers_.fetch_add(1, std::memory_order_release);
  }
  /// The worker has nothing of what was offered before.
  bool is_taken_up() const {
    return seen_.load(std::memory_order_acquire) == offers_.load(std::memory_order_relaxed);
  }

  /// Worker, between two bursts.
  void look() {
    // Counted, since two offers may be equal. What it reads is at least as new as that count: if newer, the
    // next look says so.
    const uint64_t offers = offers_.load(std::memory_order_acquire);
    own_ = offered_.load(std::memory_order_relaxed);
    seen_.store(offers, std::memory_order_release);
  }
  WorkerCapture* own() const { return own_; }

 private:
  std::atomic<WorkerCapture*> offered_ = nullptr;
  std::atomic<uint64_t> offers_ = 0, seen_ = 0;
  WorkerCapture* own_ = nullptr;
};

}  // namespace linimo::dpdk
