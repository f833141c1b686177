// The process's part of connection tracking: what has expired leaves the tables, so that a stamp of 12 bits
// never comes to mean another time. What an entry says: maglev/rules/flow_entry.h.

#include <algorithm>
#include <atomic>
#include <cstring>

#include "dataplane/xdp/program.h"
#include "dataplane/xdp/ticks.h"
#include "maglev/rules/flow_entry.h"
#include "maglev/rules/fragment.h"

namespace linimo::xdp {

/// Unless it has changed since.
bool Program::take_out(uint32_t row, __u64& place, __u64 seen) {
  auto& counts = flows_.as<linimo_xdp_flows>()[row];
  auto* connections = connections_.as<uint32_t>() + uint64_t{row} * LINIMO_MAX_BACKEND_IDS;
  __u64 word = seen;
  if (!std::atomic_ref(place).compare_exchange_strong(word, 0)) return false;
  if (linimo_flow_leaves(seen, 0))
    std::atomic_ref(connections[linimo_flow_backend(seen)]).fetch_sub(1, std::memory_order_relaxed);
  std::atomic_ref(counts.entries).fetch_sub(1);
  if (std::atomic_ref(counts.of_service[linimo_flow_service(seen)]).fetch_sub(1) == 1)
    std::atomic_ref(counts.services_holding).fetch_sub(1);
  return true;
}

FlowTables Program::flow_tables() const {
  FlowTables all{LINIMO_TICKS, ticks_now(), {}};
  for (uint32_t row = 0; row < shape_.all_rows(); ++row) {
    if (serves(row)) all.tables.push_back({row, rows_[row].table.as<FlowTable::Word>(), shape_.buckets()});
  }
  return all;
}

size_t Program::remove_flows(std::span<const FlowPlace> places) {
  size_t removed = 0;
  for (const FlowPlace& flow : places) {
    if (flow.row >= shape_.all_rows() || !serves(flow.row)) continue;
    if (flow.index >= shape_.buckets() * LINIMO_FLOW_BUCKET) continue;
    __u64& place = rows_[flow.row].table.as<__u64>()[flow.index];
    // Its packets go on changing it.
    for (;;) {
      const __u64 word = std::atomic_ref(place).load(std::memory_order_relaxed);
      if (linimo_flow_is_same(word, flow.word) == 0) break;
      if (!take_out(flow.row, place, word)) continue;
      ++removed;
      break;
    }
  }
  return removed;
}

void Program::sweep(uint64_t buckets) {
  const uint32_t now = ticks_now();
  const uint64_t all = shape_.buckets();
  const uint64_t end = std::min(sweep_next_ + buckets, all);
  for (uint32_t row = 0; row < shape_.all_rows(); ++row) {
    if (!rows_[row].table) continue;
    FlowCensus& census = *rows_[row].census;
    auto& counts = flows_.as<linimo_xdp_flows>()[row];
    auto* table = rows_[row].table.as<linimo_cell>();
    for (uint64_t i = sweep_next_; i < end; ++i) {
      for (__u64& place : table[i].words) {
        const __u64 word = std::atomic_ref(place).load(std::memory_order_relaxed);
        if (linimo_flow_state(word) == LINIMO_FLOW_EMPTY) continue;
        const uint32_t service = linimo_flow_service(word);
        const SweptService& swept = swept_services_[service];
        if (!linimo_flow_is_over_seen(word, swept.idle_timeout, now, LINIMO_TICKS)) {
          if (!linimo_flow_has_ended(word, now, LINIMO_TICKS))
            census.saw(linimo_flow_backend(word), swept.tcp);
          continue;
        }
        take_out(row, place, word);
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

void Program::settle_slots() {
  generation_.unsettled.settle(ticks_now());
  drop_old_blocks();
}

void Program::grow_older(uint32_t ticks) {
  for (const Row& row : rows_) {
    if (!row.table) continue;
    auto* table = row.table.as<linimo_cell>();
    for (linimo_cell& bucket : std::span(table, shape_.buckets())) {
      for (__u64& word : bucket.words) {
        if (linimo_flow_state(word) != LINIMO_FLOW_EMPTY) word = linimo_flow_aged(word, ticks);
      }
    }
  }
  const uint32_t units = ticks << (LINIMO_TICK_SHIFT - LINIMO_FRAGMENT_UNIT_SHIFT);
  for (linimo_cell& bucket : std::span(fragments_.as<linimo_cell>(), shape_.fragment_buckets())) {
    for (__u64& word : bucket.words) word = linimo_fragment_aged(word, units);
  }
  generation_.unsettled.grow_older(ticks);
  if (!told_) return;
  for (__u64& word : std::span(told_memory_.as<__u64>(), told_memory_.size() / sizeof(__u64))) {
    if (linimo_flow_state(word) != LINIMO_FLOW_EMPTY) word = linimo_flow_aged(word, ticks);
  }
}

void Program::forget_flows() {
  for (const Row& row : rows_) {
    if (row.table) std::memset(row.table.as<void>(), 0, row.table.size());
  }
  words_to_tell(~size_t{0});
  if (told_) {
    std::memset(told_memory_.as<void>(), 0, told_memory_.size());
    told_.emplace(shape_.flows_per_row, std::span(told_memory_.as<std::byte>(), told_memory_.size()));
  }
  std::memset(flows_.as<void>(), 0, flows_.size());
  std::memset(connections_.as<void>(), 0, connections_.size());
  std::memset(fragments_.as<void>(), 0, fragments_.size());
}

}  // namespace linimo::xdp
