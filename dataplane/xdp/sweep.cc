// The process's part of connection tracking: what has expired leaves the tables, so that a stamp of 12 bits
// never comes to mean another time. The entry's format is bpf/connections.h's.

#include <algorithm>
#include <atomic>
#include <cstring>

#include "dataplane/xdp/program.h"
#include "dataplane/xdp/ticks.h"

namespace linimo::xdp {
namespace {

constexpr uint64_t kStateMask = 3, kClosing = 3, kClosingTicks = 56;
constexpr uint32_t kStampShift = 2, kServiceShift = 14, kBackendShift = 26;
constexpr uint64_t kStampMask = 0xfff, kServiceMask = 0xfff, kBackendMask = 0x3ffff;

bool expired(uint64_t word, uint64_t timeout, uint64_t now) {
  const uint64_t age = (now - (word >> kStampShift)) & kStampMask;
  const uint64_t limit = (word & kStateMask) == kClosing ? std::min(timeout, kClosingTicks) : timeout;
  return timeout == 0 || age > limit;
}

}  // namespace

void Program::sweep(uint64_t buckets) {
  const uint64_t now = ticks_now();
  const uint64_t all = shape_.buckets();
  const uint64_t end = std::min(sweep_next_ + buckets, all);
  for (uint32_t row = 0; row < shape_.all_rows(); ++row) {
    if (!rows_[row].table) continue;
    FlowCensus& census = *rows_[row].census;
    auto& counts = flows_.as<linimo_xdp_flows>()[row];
    auto* connections = connections_.as<uint32_t>() + uint64_t{row} * LINIMO_MAX_BACKEND_IDS;
    auto* table = rows_[row].table.as<linimo_cell>();
    for (uint64_t i = sweep_next_; i < end; ++i) {
      for (__u64& place : table[i].words) {
        std::atomic_ref entry(place);
        __u64 word = entry.load(std::memory_order_relaxed);
        if ((word & kStateMask) == 0) continue;
        const uint64_t service = word >> kServiceShift & kServiceMask;
        const SweptService& swept = swept_services_[service];
        if (!expired(word, swept.idle_timeout, now)) {
          census.saw(word >> kBackendShift & kBackendMask, swept.tcp);
          continue;
        }
        if (!entry.compare_exchange_strong(word, 0)) continue;
        if ((word & kStateMask) != kClosing) {
          const uint64_t backend = word >> kBackendShift & kBackendMask;
          std::atomic_ref(connections[backend]).fetch_sub(1, std::memory_order_relaxed);
        }
        std::atomic_ref(counts.entries).fetch_sub(1);
        if (std::atomic_ref(counts.of_service[service]).fetch_sub(1) == 1)
          std::atomic_ref(counts.services_holding).fetch_sub(1);
      }
    }
    counters(row).flows = std::atomic_ref(counts.entries).load(std::memory_order_relaxed);
    if (end == all) {
      census.end_round();
      sweeps_ = std::max(sweeps_, counters(row).census_rounds);
    }
  }
  sweep_next_ = end == all ? 0 : end;
}

void Program::settle() {
  generation_.unsettled.settle(ticks_now());
}

void Program::grow_older(uint32_t ticks) {
  const uint64_t units = uint64_t{ticks} << kStampShift;
  for (const Row& row : rows_) {
    if (!row.table) continue;
    auto* table = row.table.as<linimo_cell>();
    for (linimo_cell& bucket : std::span(table, shape_.buckets())) {
      for (__u64& word : bucket.words) {
        const uint64_t stamp = (word - units) & kStampMask << kStampShift;
        if ((word & kStateMask) != 0) word = (word & ~(kStampMask << kStampShift)) | stamp;
      }
    }
  }
  generation_.unsettled.grow_older(ticks);
}

void Program::forget_flows() {
  for (const Row& row : rows_) {
    if (row.table) std::memset(row.table.as<void>(), 0, row.table.size());
  }
  std::memset(flows_.as<void>(), 0, flows_.size());
  std::memset(connections_.as<void>(), 0, connections_.size());
  std::memset(fragments_.as<void>(), 0, fragments_.size());
}

}  // namespace linimo::xdp
