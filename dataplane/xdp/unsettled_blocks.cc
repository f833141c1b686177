#include "dataplane/xdp/unsettled_blocks.h"

#include <atomic>
#include <cerrno>
#include <cstring>

#include <bpf/bpf.h>
#include <fmt/format.h>

#include "dataplane/xdp/array_map.h"
#include "dataplane/xdp/ticks.h"

namespace linimo::xdp {
namespace {

static_assert(sizeof(linimo_cell) == LINIMO_UNSETTLED_LINE);
constexpr uint64_t kFirstCell = 1;  // 0 says that there is no block

}  // namespace

tl::expected<UnsettledBlocks, std::string> UnsettledBlocks::make(const SnapshotView& view, uint32_t rows,
                                                                 const UnsettledBlocks& before,
                                                                 std::span<linimo_xdp_service> services) {
  UnsettledBlocks made(view, services);
  const std::vector<uint32_t> windows_s = adaptive_windows_s(view);
  const std::vector<size_t> were = before.view_ ? pools_of_same_name(view, *before.view_)
                                                : std::vector<size_t>(view.pools().size(), kNoPool);
  std::vector<UnsettledSlots::Plan> plans;
  uint64_t cells = kFirstCell;
  for (size_t p = 0; p < view.pools().size(); ++p) {
    UnsettledSlots::Before was;
    if (were[p] != kNoPool)
      was = {before.pools_[were[p]].get(), &*before.view_, &before.view_->pools()[were[p]]};
    plans.emplace_back(view, view.pools()[p], windows_s[p], was);
    if (!plans.back().all_settled()) cells += plans.back().bytes(rows) / sizeof(linimo_cell);
  }
  if (cells == kFirstCell) return made;

  if (cells <= ~uint32_t{0}) made.map_ = create_array("unsettled", cells, BPF_F_INNER_MAP);
  if (made.map_) made.memory_ = Mapping::of(made.map_.get(), cells * sizeof(linimo_cell));
  if (!made.memory_)
    return tl::unexpected(
        fmt::format("no memory for {} cells of unsettled slots: {}", cells, strerror(errno)));
  uint64_t cell = kFirstCell;
  for (size_t p = 0; p < plans.size(); ++p) {
    if (plans[p].all_settled()) continue;
    auto* memory = reinterpret_cast<std::byte*>(made.memory_.as<linimo_cell>() + cell);
    const UnsettledSlots::Clock clock{.now = ticks_now(), .units = ticks_for};
    made.pools_[p] = std::make_unique<UnsettledSlots>(plans[p], rows, clock, memory);
    made.tell_services(p, static_cast<uint32_t>(cell));
    cell += plans[p].bytes(rows) / sizeof(linimo_cell);
  }
  return made;
}

UnsettledBlocks UnsettledBlocks::found(UniqueFd map, uint64_t cells, const SnapshotView& view, uint32_t rows,
                                       std::span<linimo_xdp_service> services) {
  UnsettledBlocks made(view, services);
  if (!map) return made;
  made.memory_ = Mapping::of(map.get(), cells * sizeof(linimo_cell));
  if (!made.memory_) return made;
  made.map_ = std::move(map);
  for (const linimo_xdp_service& service : services) {
    if (service.unsettled == 0 || made.pools_[service.pool] != nullptr || service.unsettled >= cells)
      continue;
    auto* memory = made.memory_.as<linimo_cell>() + service.unsettled;
    const auto& head = *reinterpret_cast<const linimo_unsettled_head*>(memory);
    const uint64_t end = service.unsettled + uint64_t{linimo_stamps_line(head.table_size, head.listed, rows)};
    if (head.table_size != view.pools()[service.pool].table_size || head.workers != rows || end > cells)
      continue;
    made.pools_[service.pool] = std::make_unique<UnsettledSlots>(reinterpret_cast<std::byte*>(memory));
  }
  return made;
}

bool UnsettledBlocks::pin(const std::filesystem::path& pin) const {
  if (map_) return pin_map(map_, pin);
  std::error_code ignored;
  if (!pin.empty()) std::filesystem::remove(pin, ignored);
  return true;
}

/// Those that track adaptively; packets are on their way meanwhile.
void UnsettledBlocks::tell_services(size_t pool, uint32_t block) {
  for (size_t i = 0; i < services_.size(); ++i) {
    const linimo_service& service = view_->services()[i];
    if (service.pool == pool && service.tracking == LINIMO_TRACKING_ADAPTIVE)
      std::atomic_ref(services_[i].unsettled).store(block, std::memory_order_relaxed);
  }
}

void UnsettledBlocks::take_stamps(const UnsettledBlocks& before) {
  if (!before.view_) return;
  const std::vector<size_t> were = pools_of_same_name(*view_, *before.view_);
  for (size_t p = 0; p < pools_.size(); ++p) {
    if (pools_[p] != nullptr && were[p] != kNoPool && before.pools_[were[p]] != nullptr)
      pools_[p]->take_stamps(*before.pools_[were[p]]);
  }
}

void UnsettledBlocks::settle(uint32_t now) {
  for (size_t p = 0; p < pools_.size(); ++p) {
    if (pools_[p] == nullptr) continue;
    pools_[p]->settle(now);
    if (pools_[p]->count() != 0) continue;
    pools_[p].reset();
    tell_services(p, 0);
  }
}

void UnsettledBlocks::grow_older(uint32_t ticks) {
  for (const auto& pool : pools_) {
    if (pool != nullptr) pool->grow_older(ticks);
  }
}

}  // namespace linimo::xdp
