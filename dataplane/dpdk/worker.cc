#include "dataplane/dpdk/worker.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <thread>

#include <pthread.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_pause.h>
#include <sys/prctl.h>
#include <time.h>

namespace linimo::dpdk {
namespace {

constexpr uint32_t kReceiveBurst = 32;
constexpr uint32_t kHousekeepingHz = 1000;
constexpr uint32_t kSweep_s = 4;  // once round the connection table; far below the stamp's 400 s
constexpr uint32_t kSpins = 256;  // empty rounds before a worker that shares its core sleeps
constexpr auto kRemovalLimit = std::chrono::milliseconds(100);
constexpr uint32_t kShortestRest_us = 5, kLongestRest_us = 200;

}  // namespace

Worker::Worker(uint32_t index, Shared& shared, std::vector<Source> receive, std::vector<Lane> transmit,
               WorkerCounters& counters, KernelPath* exception, bool busy)
    : index_(index),
      shared_(shared),
      receive_(std::move(receive)),
      transmit_(std::move(transmit)),
      flows_(shared.flows[index]),
      counters_(counters),
      census_(counters),
      exception_(exception),
      busy_(busy),
      pipeline_(shared.macs, shared.next_hops, shared.flows, index, counters),
      tsc_hz_(rte_get_tsc_hz()) {
  counters_.flows_capacity = flows_.connections.capacity();
  pipeline_.go_in_lanes(shared.lanes);
  if (shared.sharing)
    pipeline_.share_flows(shared.sharing->told(), shared.sharing->datagrams(), shared.sharing->words(index));
}

void Worker::run() {
  prctl(PR_SET_TIMERSLACK, 1);
  shared_.publication->join(index_);
  uint32_t empty_rounds = 0;
  while (shared_.running.load(std::memory_order_relaxed)) {
    const Generation* generation = shared_.publication->between_bursts(index_);
    const uint64_t started = rte_rdtsc();
    bool worked = started >= next_housekeeping_ && housekeeping(started, generation);
    for (const Source& source : receive_) worked |= poll(source, generation);
    if (index_ == 0 && exception_ != nullptr) worked |= inject();
    if (worked) {
      const uint64_t took_ns = (rte_rdtsc() - started) * 1'000'000'000 / tsc_hz_;
      count(counters_.bursts);
      count(counters_.busy_ns, took_ns);
      const auto doublings = static_cast<size_t>(std::bit_width(took_ns / kBurstStep_ns));
      count(counters_.burst_times[std::min(doublings, std::size(counters_.burst_times) - 1)]);
    }
    empty_rounds = worked ? 0 : empty_rounds + 1;
    if (!worked) rest(empty_rounds);
  }
  shared_.publication->leave(index_);
}

bool Worker::poll(const Source& source, const Generation* generation) {
  rte_mbuf* burst[kReceiveBurst];
  const uint16_t received = rte_eth_rx_burst(source.lane.port_id, source.lane.queue, burst, kReceiveBurst);
  if (received == 0) return false;
  if (capture_.own() == nullptr) [[likely]]
    run({burst, received}, source.interface, generation);
  else
    run_watched({burst, received}, source.interface, generation);
  return true;
}

inline void Worker::run(std::span<rte_mbuf* const> burst, uint32_t interface, const Generation* generation) {
  pipeline_.run(burst, interface, generation, now_ms_, out_);
  flush(interface);
}

/// What a capture wants goes alone, in its place, so that its fate is seen.
__attribute__((noinline)) void Worker::run_watched(std::span<rte_mbuf* const> burst, uint32_t interface,
                                                   const Generation* generation) {
  constexpr linimo_outcome kFull[] = {LINIMO_OUTCOME_tx_full, LINIMO_OUTCOME_kernel_full};
  WorkerCapture& capture = *capture_.own();
  size_t first = 0;  // that has not gone
  for (size_t i = 0; i < burst.size(); ++i) {
    linimo_captured* captured = capture.begin(burst[i], interface);
    if (captured == nullptr) continue;
    run(burst.subspan(first, i - first), interface, generation);
    first = i + 1;
    capture.note(pipeline_.run_alone(burst[i], interface, generation, now_ms_, out_), out_);
    const uint64_t before[] = {counters_.outcomes[kFull[0]], counters_.outcomes[kFull[1]]};
    flush(interface);
    for (size_t full = 0; full < std::size(kFull); ++full) {
      if (counters_.outcomes[kFull[full]] == before[full]) continue;
      captured->outcome = kFull[full];
      captured->out_length = captured->out_kept = 0;
    }
    capture.commit();
  }
  run(burst.subspan(first), interface, generation);
}

/// What came in by an interface, onto the queues, counted as they take it.
void Worker::flush(uint32_t interface) {
  for (uint32_t i = 0; i < transmit_.size(); ++i) {
    TransmitList& frames = out_.transmit[i];
    if (frames.count == 0) continue;
    const uint16_t sent = transmit(i, {frames.mbufs.data(), frames.count});
    if (frames.all_forwarded) {
      count(counters_.outcomes[LINIMO_OUTCOME_forwarded], sent);
      count(counters_.outcomes[LINIMO_OUTCOME_tx_full], frames.count - sent);
    } else {
      for (uint32_t frame = 0; frame < frames.count; ++frame) {
        const uint8_t outcome = frames.counted_as[frame];
        if (outcome != TransmitList::kNotCounted)
          count(counters_.outcomes[frame < sent ? outcome : uint8_t{LINIMO_OUTCOME_tx_full}]);
      }
    }
    frames.clear();
  }
  hand_to_kernel(interface, out_.control, KernelPath::kControl);
  hand_to_kernel(interface, out_.answers, KernelPath::kAnswers);
  hand_to_kernel(interface, out_.kernel, KernelPath::kOther);
}

bool Worker::inject() {
  bool any = false;
  for (uint32_t i = 0; i < transmit_.size(); ++i) {
    rte_mbuf* frames[KernelPath::kBurst];
    const uint32_t taken = exception_->from_kernel(i, frames);
    if (taken == 0) continue;
    const uint16_t sent = transmit(i, {frames, taken});
    count(counters_.outcomes[LINIMO_OUTCOME_from_kernel], sent);
    count(counters_.outcomes[LINIMO_OUTCOME_tx_full], taken - sent);
    any = true;
  }
  return any;
}

uint16_t Worker::transmit(uint32_t interface, std::span<rte_mbuf*> frames) {
  const Lane& lane = transmit_[interface];
  const uint16_t sent =
      rte_eth_tx_burst(lane.port_id, lane.queue, frames.data(), static_cast<uint16_t>(frames.size()));
  // A full queue means the link is slower than the traffic: to wait here would only add delay to every flow.
  if (sent == frames.size()) return sent;
  const auto rest = frames.subspan(sent);
  rte_pktmbuf_free_bulk(rest.data(), static_cast<unsigned>(rest.size()));
  return sent;
}

void Worker::hand_to_kernel(uint32_t interface, MbufList& frames, KernelPath::Rank rank) {
  if (frames.count == 0) return;
  const std::span<rte_mbuf*> all(frames.mbufs.data(), frames.count);
  const uint32_t taken = exception_ == nullptr ? 0 : exception_->to_kernel(interface, all, rank);
  if (const auto rest = all.subspan(taken); !rest.empty()) {
    count(counters_.outcomes[LINIMO_OUTCOME_kernel_full], rest.size());
    rte_pktmbuf_free_bulk(rest.data(), static_cast<unsigned>(rest.size()));
  }
  frames.clear();
}

/// True if held fragments left.
bool Worker::housekeeping(uint64_t tsc, const Generation* generation) {
  now_ms_ = worker_clock_ms();
  next_housekeeping_ = tsc + tsc_hz_ / kHousekeepingHz;
  count(counters_.rounds);
  removal_.serve(flows_.connections);
  capture_.look();
  const uint32_t held = pipeline_.held();
  if (held != 0) {
    pipeline_.release_held(generation, now_ms_, out_);
    flush(0);
  }
  const bool worked = pipeline_.held() != held;
  if (generation == nullptr) return worked;
  flows_.connections.sweep(flows_.connections.buckets() / (uint64_t{kSweep_s} * kHousekeepingHz) + 1,
                           generation->swept_services(), static_cast<uint32_t>(now_ms_ / 1000), census_);
  __atomic_store_n(&counters_.flows, flows_.connections.entries(), __ATOMIC_RELAXED);
  return worked;
}

std::optional<size_t> Worker::remove_flows(std::span<const FlowPlace> places) {
  if (!removal_.ask(places)) return std::nullopt;
  const auto until = std::chrono::steady_clock::now() + kRemovalLimit;
  for (;;) {
    if (const auto removed = removal_.removed()) return removed;
    if (std::chrono::steady_clock::now() > until) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

// On a core of its own a worker polls on. Where it shares one, the longer nothing came the longer it sleeps,
// up to what a packet may wait without anyone noticing.
void Worker::rest(uint32_t empty_rounds) {
  if (busy_ || empty_rounds < kSpins) {
    rte_pause();
    return;
  }
  const uint32_t micros = std::min(kShortestRest_us * (empty_rounds - kSpins + 1), kLongestRest_us);
  const timespec pause{.tv_sec = 0, .tv_nsec = micros * 1000L};
  nanosleep(&pause, nullptr);
}

}  // namespace linimo::dpdk
