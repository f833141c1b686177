#include "bench/forwarding/supply.h"

#include <ctime>
#include <stdexcept>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

namespace linimo::bench {
namespace {

constexpr uint32_t kPrefetched = 8;  // packets ahead, by delivery as by rewriting

/// Of this thread: what others did on this CPU meanwhile does not count.
double cpu_time_ns() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// A ring, and no cache of what was freed last: what the loop drops must not come back warm.
rte_mempool* make_pool() {
  rte_mempool* pool =
      rte_pktmbuf_pool_create_by_ops("supply", Supply::kMbufs - 1, 0, 0,
                                     RTE_PKTMBUF_HEADROOM + Supply::kFrameRoom, SOCKET_ID_ANY, "ring_sp_sc");
  if (pool == nullptr)
    throw std::runtime_error(std::string("no memory for frames: ") + rte_strerror(rte_errno));
  return pool;
}

}  // namespace

Supply::Supply(dpdk::Lane lane) : pool_(make_pool()), ring_(kMbufs), lengths_(kMbufs) {
  // What rte_eth_rx_burst and rte_eth_tx_burst look up, which drivers fill in when a port starts.
  struct rte_eth_fp_ops& burst_functions = rte_eth_fp_ops[lane.port_id];
  burst_functions.rx_pkt_burst = receive;
  burst_functions.tx_pkt_burst = swallow;
  burst_functions.rxq.data[lane.queue] = this;
  burst_functions.txq.data[lane.queue] = this;
}

Supply::~Supply() {
  rte_mempool_free(pool_);
}

void Supply::start(Traffic& traffic, uint64_t unmeasured, uint64_t measured, std::atomic<bool>& running) {
  traffic_ = &traffic;
  running_ = &running;
  measure_from_ = delivered_ + unmeasured;
  stop_at_ = measure_from_ + measured;
  sent_ = 0;
  running = true;
  traffic.in_turn_for(unmeasured);
  // What the last run left is written anew.
  written_ = delivered_;
  top_up();
  while (written_ != delivered_ + kLead) rewrite(written_++);
}

std::span<const uint8_t> Supply::last_sent() const {
  if (last_ == nullptr) return {};
  return {rte_pktmbuf_mtod(last_, const uint8_t*), last_->data_len};
}

Supply::Run Supply::finish() {
  const auto packets = static_cast<double>(stop_at_ - measure_from_);
  return {(end_ns_ - begin_ns_) / packets, sent_};
}

uint16_t Supply::receive(void* supply, rte_mbuf** mbufs, uint16_t wanted) {
  return static_cast<Supply*>(supply)->deliver(mbufs, wanted);
}

uint16_t Supply::swallow(void* supply, rte_mbuf** mbufs, uint16_t count) {
  auto& self = *static_cast<Supply*>(supply);
  for (uint16_t i = 0; i < count; ++i) self.ring_[self.returned_++ % kMbufs] = mbufs[i];
  self.last_ = mbufs[count - 1];
  self.sent_ += count;
  return count;
}

/// What was freed and not sent takes its place at the end, too.
void Supply::top_up() {
  constexpr unsigned kAtOnce = 64;
  void* freed[kAtOnce];
  while (rte_mempool_get_bulk(pool_, freed, kAtOnce) == 0) {
    for (void* mbuf : freed) ring_[returned_++ % kMbufs] = static_cast<rte_mbuf*>(mbuf);
  }
}

uint8_t* Supply::frame_at(uint64_t position) const {
  // Not by way of the mbuf, which is not in the cache and not needed yet.
  return reinterpret_cast<uint8_t*>(ring_[position % kMbufs]) + sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM;
}

void Supply::rewrite(uint64_t position) {
  const uint8_t* ahead = frame_at(position + kPrefetched);
  __builtin_prefetch(ahead, 1);
  if (traffic_->spec().v6) __builtin_prefetch(ahead + 64, 1);
  lengths_[position % kMbufs] = traffic_->write_next(frame_at(position));
}

uint16_t Supply::deliver(rte_mbuf** mbufs, uint16_t wanted) {
  if (delivered_ == stop_at_) {
    end_ns_ = cpu_time_ns();
    *running_ = false;
    return 0;
  }
  if (delivered_ == measure_from_) begin_ns_ = cpu_time_ns();
  if (returned_ < written_ + wanted + kPrefetched) top_up();
  for (uint16_t i = 0; i < wanted; ++i) {
    __builtin_prefetch(ring_[(delivered_ + i) % kMbufs], 1);
    rewrite(written_++);
  }
  for (uint16_t i = 0; i < wanted; ++i, ++delivered_) {
    rte_mbuf* mbuf = ring_[delivered_ % kMbufs];
    mbuf->data_off = RTE_PKTMBUF_HEADROOM;
    mbuf->refcnt = 1;
    mbuf->nb_segs = 1;
    mbuf->ol_flags = 0;
    mbuf->data_len = lengths_[delivered_ % kMbufs];
    mbuf->pkt_len = mbuf->data_len;
    mbufs[i] = mbuf;
  }
  return wanted;
}

}  // namespace linimo::bench
