#include "dataplane/dpdk/worker_capture.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include <rte_mbuf.h>

namespace linimo::dpdk {
namespace {

uint64_t wall_clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint16_t keep(const rte_mbuf* mbuf, uint32_t snap, uint8_t* to) {
  const uint32_t kept = std::min(rte_pktmbuf_pkt_len(mbuf), snap);
  const void* bytes = rte_pktmbuf_read(mbuf, 0, kept, to);  // copied there if it lies in several buffers
  if (bytes != to) std::memcpy(to, bytes, kept);
  return static_cast<uint16_t>(kept);
}

}  // namespace

WorkerCapture::WorkerCapture(const CaptureRequest& request, uint32_t worker)
    : request_(request), worker_(worker), ring_(std::make_unique_for_overwrite<linimo_captured[]>(kRoom)) {}

linimo_captured* WorkerCapture::miss() {
  missed_.store(missed() + 1, std::memory_order_relaxed);
  return nullptr;
}

linimo_captured* WorkerCapture::begin(const rte_mbuf* mbuf, uint32_t in_port) {
  if (!request_.filter.matches(rte_pktmbuf_mtod(mbuf, const uint8_t*), rte_pktmbuf_pkt_len(mbuf),
                               rte_pktmbuf_data_len(mbuf)))
    return nullptr;
  const uint64_t now_ns = wall_clock_ns(), number = written_.load(std::memory_order_relaxed);
  if (!linimo_capture_admits(&rate_, request_.rate, now_ns)) return miss();
  if (number - read_.load(std::memory_order_acquire) >= kRoom) return miss();
  linimo_captured& captured = at(number);
  std::memset(&captured, 0, protocol::kCapturedHead);
  captured.row = worker_;
  captured.time_ns = now_ns;
  captured.in_port = static_cast<uint8_t>(in_port);
  captured.in_length = rte_pktmbuf_pkt_len(mbuf);
  captured.in_kept = keep(mbuf, request_.snap, captured.bytes);
  return &captured;
}

void WorkerCapture::note(const Fate& fate, const BurstOutput& out) {
  linimo_captured& captured = at(written_.load(std::memory_order_relaxed));
  captured.outcome = fate.outcome;
  captured.backend = fate.backend;
  captured.service = fate.service;
  captured.encapsulation = fate.encapsulation;
  for (uint32_t port = 0; port < kMaxPorts; ++port) {
    const TransmitList& frames = out.transmit[port];
    if (frames.count == 0) continue;
    captured.out_port = static_cast<uint8_t>(port);
    captured.fragmented = frames.count > 1 ? 1 : 0;
    if (frames.count > 1) return;
    captured.out_length = rte_pktmbuf_pkt_len(frames.mbufs[0]);
    captured.out_kept = keep(frames.mbufs[0], request_.snap, captured.bytes + captured.in_kept);
  }
}

bool WorkerCapture::read(const Capture::Take& take) {
  const uint64_t end = written_.load(std::memory_order_acquire);
  for (uint64_t number = read_.load(std::memory_order_relaxed); number != end; ++number) {
    if (!take(at(number))) return false;
    read_.store(number + 1, std::memory_order_release);
  }
  return true;
}

}  // namespace linimo::dpdk
