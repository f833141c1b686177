#include "dataplane/dpdk/table_memory.h"

#include <cstring>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace linimo::dpdk {
namespace {

constexpr const char* kCondition = "flows-kept";

}  // namespace

tl::expected<TableMemory, std::string> TableMemory::make(const NodeConfig& config, uint64_t spread,
                                                         Allocate allocate, ConditionBoard& board) {
  TableMemory made;
  made.flows_ = config.flows_per_worker;
  const uint64_t bytes = ConnectionTable::bytes_for(config.flows_per_worker);
  auto kept = KeptMemory::open(config.runtime_dir, {.owner = 0,
                                                    .boot = {},
                                                    .workers = config.workers,
                                                    .flows = config.flows_per_worker,
                                                    .spread = spread});
  if (kept) {
    if (!kept->why_empty().empty()) spdlog::warn("connection tables begin empty: {}", kept->why_empty());
    spdlog::info("connection tables are in {}: they outlive this process, until `linimo dataplane detach`{}",
                 kept->file().string(),
                 kept->why_small_pages().empty()
                     ? ""
                     : fmt::format("; they are not in hugepages: {}", kept->why_small_pages()));
    board.set(kCondition, "", ConditionState::kHolds, kept->file().string());
    made.kept_.emplace(std::move(*kept));
    return made;
  }
  spdlog::warn("connection tables will end with this process: {}", kept.error());
  board.set(
      kCondition, "", ConditionState::kFails,
      fmt::format("a data plane that starts anew begins with empty connection tables: {}", kept.error()));
  for (uint32_t worker = 0; worker < config.workers; ++worker) {
    Generation::Memory memory = allocate(bytes);
    if (!memory) {
      return tl::unexpected(
          fmt::format("no memory for {} tracked flows per worker ({} MiB each); reserve more hugepages "
                      "or lower [node] flows_per_worker",
                      config.flows_per_worker, bytes >> 20));
    }
    std::memset(memory.get(), 0, bytes);
    made.own_.push_back(std::move(memory));
  }
  return made;
}

FlowState TableMemory::flows_of(uint32_t worker) const {
  if (!kept_)
    return {ConnectionTable(flows_, {own_[worker].get(), ConnectionTable::bytes_for(flows_)}),
            FragmentMemory()};
  return {ConnectionTable(flows_, kept_->flows().table(worker)),
          FragmentMemory(kept_->flows().fragments(worker))};
}

void TableMemory::take_over(const SnapshotView& view, uint64_t now_ms, std::span<FlowState> flows) {
  if (!kept_ || taken_over_) return;
  const KeptFlows::TakenOver taken = kept_->flows().take_over(view, now_ms, flows);
  taken_over_ = true;
  if (!taken.why_empty.empty()) {
    if (taken.dropped != 0)
      spdlog::warn("connection tables begin empty: {}; {} flows are forgotten", taken.why_empty,
                   taken.dropped);
  } else {
    spdlog::info("{} tracked flows taken over; {} had expired or were of what is no more", taken.flows,
                 taken.dropped);
    if (taken.datagrams != 0)
      spdlog::info("where the first fragments of {} datagrams went is known still", taken.datagrams);
  }
}

void TableMemory::note(const SnapshotView& view, uint32_t now_s) {
  if (kept_) kept_->flows().note(view, now_s);
}

void TableMemory::note(uint32_t now_s, ConditionBoard& board) {
  if (!kept_) return;
  if (taken_over_) kept_->flows().note(now_s);
  if (kept_->is_in_place()) {
    board.set(kCondition, "", ConditionState::kHolds, kept_->file().string());
  } else {
    board.set(kCondition, "", ConditionState::kFails,
              fmt::format("somebody has removed or replaced {}", kept_->file().string()),
              "systemctl restart linimo-dataplane");
  }
}

}  // namespace linimo::dpdk
