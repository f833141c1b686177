#include "bench/forwarding/supply.h"

#include <algorithm>
#include <ctime>
#include <stdexcept>

#include <fmt/format.h>
#include <rte_cycles.h>
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
rte_mempool* make_pool(uint16_t port_id) {
  rte_mempool* pool =
      rte_pktmbuf_pool_create_by_ops(fmt::format("supply{}", port_id).c_str(), Supply::kMbufs - 1, 0, 0,
                                     RTE_PKTMBUF_HEADROOM + Supply::kFrameRoom, SOCKET_ID_ANY, "ring_sp_sc");
  if (pool == nullptr)
    throw std::runtime_error(std::string("no memory for frames: ") + rte_strerror(rte_errno));
  return pool;
}

}  // namespace

Supply::Supply(dpdk::Lane lane) : pool_(make_pool(lane.port_id)), ring_(kMbufs), lengths_(kMbufs) {
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

void Supply::start(Traffic& traffic, const Plan& plan, Meeting& meeting, std::atomic<bool>& running) {
  traffic_ = &traffic;
  plan_ = plan;
  meeting_ = &meeting;
  running_ = &running;
  stage_ = Stage::kFirst;
  started_at_ = delivered_;
  mark_ = delivered_ + plan.unmeasured;
  sent_ = 0;
  traffic.in_turn_for(plan.unmeasured);
  // What the last run left is written anew.
  written_ = delivered_;
  top_up();
  while (written_ != delivered_ + kLead) rewrite(written_++);
}

/// The next stage, if the others are as far; whether there is anything to deliver.
bool Supply::at_mark() {
  if (stage_ == Stage::kFirst) {
    meeting_->warmed();
    stage_ = Stage::kWarm;
  }
  if (stage_ == Stage::kWarm && meeting_->all_warmed()) {
    stage_ = Stage::kMeasured;
    mark_ = delivered_ + plan_.measured;
    arrivals_ = plan_.arrivals;
    if (arrivals_ != nullptr) arrivals_->begin(rte_rdtsc());
    begin_ns_ = cpu_time_ns();
    return true;
  }
  if (stage_ == Stage::kMeasured) {
    end_ns_ = cpu_time_ns();
    meeting_->measured();
    arrivals_ = nullptr;
    stage_ = Stage::kOver;
  }
  if (stage_ == Stage::kOver && meeting_->all_measured()) {
    *running_ = false;
    return false;
  }
  mark_ = delivered_ + kBurst;
  return true;
}

std::span<const uint8_t> Supply::last_sent() const {
  if (last_ == nullptr) return {};
  return {rte_pktmbuf_mtod(last_, const uint8_t*), last_->data_len};
}

Supply::Run Supply::finish() {
  return {(end_ns_ - begin_ns_) / static_cast<double>(plan_.measured), delivered_ - started_at_, sent_};
}

uint16_t Supply::receive(void* supply, rte_mbuf** mbufs, uint16_t wanted) {
  return static_cast<Supply*>(supply)->deliver(mbufs, wanted);
}

uint16_t Supply::swallow(void* supply, rte_mbuf** mbufs, uint16_t count) {
  auto& self = *static_cast<Supply*>(supply);
  for (uint16_t i = 0; i < count; ++i) self.ring_[self.returned_++ % kMbufs] = mbufs[i];
  if (self.arrivals_ != nullptr) self.arrivals_->left({mbufs, count}, rte_rdtsc());
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
  if (delivered_ == mark_ && !at_mark()) return 0;
  if (arrivals_ != nullptr) {
    wanted =
        static_cast<uint16_t>(std::min<uint64_t>(arrivals_->due(rte_rdtsc(), wanted), mark_ - delivered_));
    if (wanted == 0) return 0;
  }
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
  if (arrivals_ != nullptr) arrivals_->came({mbufs, wanted});
  return wanted;
}

}  // namespace linimo::bench
