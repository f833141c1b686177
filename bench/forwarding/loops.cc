#include "bench/forwarding/loops.h"

#include <span>
#include <utility>

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "bench/forwarding/supply.h"

namespace linimo::bench {
namespace {

template <typename Handle>
void loop(dpdk::Lane lane, const std::atomic<bool>& running, Handle handle) {
  rte_mbuf* burst[Supply::kBurst];
  while (running.load(std::memory_order_relaxed)) {
    const uint16_t count = rte_eth_rx_burst(lane.port_id, lane.queue, burst, Supply::kBurst);
    if (count != 0) handle(std::span(burst, count));
  }
}

void prefetch(std::span<rte_mbuf* const> burst) {
  for (rte_mbuf* mbuf : burst) rte_prefetch0(rte_pktmbuf_mtod(mbuf, void*));
}

void compute(uint64_t steps) {
  uint64_t word = steps;
  for (; steps != 0; --steps) asm volatile("imul %0, %0" : "+r"(word));
}

}  // namespace

void swap_macs(dpdk::Lane lane, const std::atomic<bool>& running, uint64_t steps) {
  loop(lane, running, [&](std::span<rte_mbuf*> burst) {
    prefetch(burst);
    for (rte_mbuf* mbuf : burst) {
      auto* ethernet = rte_pktmbuf_mtod(mbuf, rte_ether_hdr*);
      std::swap(ethernet->dst_addr, ethernet->src_addr);
    }
    compute(burst.size() * steps);
    rte_eth_tx_burst(lane.port_id, lane.queue, burst.data(), static_cast<uint16_t>(burst.size()));
  });
}

void send_back(dpdk::Lane lane, const std::atomic<bool>& running) {
  loop(lane, running, [&](std::span<rte_mbuf*> burst) {
    rte_eth_tx_burst(lane.port_id, lane.queue, burst.data(), static_cast<uint16_t>(burst.size()));
  });
}

void drop_all(dpdk::Lane lane, const std::atomic<bool>& running) {
  loop(lane, running, [&](std::span<rte_mbuf*> burst) {
    prefetch(burst);
    for (rte_mbuf* mbuf : burst) rte_pktmbuf_free(mbuf);
  });
}

}  // namespace linimo::bench
