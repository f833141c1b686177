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
  made.bytes_ = ConnectionTable::bytes_for(config.flows_per_worker);
  auto kept = KeptMemory::open(config.runtime_dir, {.owner = 0,
                                                    .boot = {},
                                                    .workers = config.workers,
                                                    .flows = config.flows_per_worker,
                                                    .spread = spread});
  if (kept) {
    if (!kept->why_empty().empty()) spdlog::warn("connection tables begin empty: {}", kept->why_empty());
    spdlog::info("connection tables are in {}: they outlive this process, until `linimo dataplane detach`",
                 kept->file().string());
    board.set(kCondition, "", ConditionState::kHolds);
    made.kept_.emplace(std::move(*kept));
    return made;
  }
  spdlog::warn("connection tables will end with this process: {}", kept.error());
  board.set(
      kCondition, "", ConditionState::kFails,
      fmt::format("a data plane that starts anew begins with empty connection tables: {}", kept.error()));
  for (uint32_t worker = 0; worker < config.workers; ++worker) {
    Generation::Memory memory = allocate(made.bytes_);
    if (!memory) {
      return tl::unexpected(
          fmt::format("no memory for {} tracked flows per worker ({} MiB each); reserve more hugepages "
                      "or lower [node] flows_per_worker",
                      config.flows_per_worker, made.bytes_ >> 20));
    }
    std::memset(memory.get(), 0, made.bytes_);
    made.own_.push_back(std::move(memory));
  }
  return made;
}

std::span<std::byte> TableMemory::table(uint32_t worker) const {
  return kept_ ? kept_->flows().table(worker) : std::span(own_[worker].get(), bytes_);
}

void TableMemory::take_over(const SnapshotView& view, uint32_t now_s, std::span<FlowState> flows) {
  if (!kept_ || taken_over_) return;
  std::vector<ConnectionTable*> tables;
  for (FlowState& state : flows) tables.push_back(&state.connections);
  const KeptFlows::TakenOver taken = kept_->flows().take_over(view, now_s, tables);
  taken_over_ = true;
  if (!taken.why_empty.empty()) {
    if (taken.dropped != 0)
      spdlog::warn("connection tables begin empty: {}; {} flows are forgotten", taken.why_empty,
                   taken.dropped);
  } else {
    spdlog::info("{} tracked flows taken over; {} had expired or were of what is no more", taken.flows,
                 taken.dropped);
  }
}

void TableMemory::note(const SnapshotView& view) {
  if (kept_) kept_->flows().note(view);
}

void TableMemory::note(uint32_t now_s, ConditionBoard& board) {
  if (!kept_) return;
  if (taken_over_) kept_->flows().note(now_s);
  if (kept_->is_in_place()) {
    board.set(kCondition, "", ConditionState::kHolds);
  } else {
    board.set(kCondition, "", ConditionState::kFails,
              fmt::format("somebody has removed or replaced {}", kept_->file().string()),
              "systemctl restart linimo-dataplane");
  }
}

}  // namespace linimo::dpdk
