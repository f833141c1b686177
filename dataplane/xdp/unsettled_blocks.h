// The slots of a generation that are not settled, of all its pools, in a map that the XDP program reads and
// stamps: it outlives this process, and with it what the slots have yet to learn.
//
//   auto blocks = UnsettledBlocks::make(view, rows, before, services);   // before the generation is live
//   blocks->take_stamps(before);                                         // once it alone is
//   blocks->settle(now);                                                 // about once a second
//
// Control thread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "bpf/layout.h"
#include "dataplane/flow/unsettled_slots.h"
#include "dataplane/xdp/mapping.h"
#include "maglev/snapshot.h"
#include "maglev/unique_fd.h"

namespace linimo::xdp {

class UnsettledBlocks {
 public:
  /// Before the first generation.
  UnsettledBlocks() = default;

  /// Of a generation that is not live yet. `services`: of its image, in the snapshot's order; they are told
  /// where their pool's block is, and later that it is not needed any more. All must outlive the object.
  static tl::expected<UnsettledBlocks, std::string> make(const SnapshotView& view, uint32_t rows,
                                                         const UnsettledBlocks& before,
                                                         std::span<linimo_xdp_service> services);

  /// What another process made, in a map of so many cells. `map` may be empty: all is settled.
  static UnsettledBlocks found(UniqueFd map, uint64_t cells, const SnapshotView& view, uint32_t rows,
                               std::span<linimo_xdp_service> services);

  /// The map; -1 where none is needed.
  int fd() const { return map_.get(); }
  /// Pins the map in the place of what is pinned there; where there is no map, nothing is then. False: errno
  /// says why.
  bool pin(const std::filesystem::path& pin) const;

  /// What was stamped in the generation before, until no packet was in it any more.
  void take_stamps(const UnsettledBlocks& before);
  void settle(uint32_t now);
  /// Of a pool, by its number; null where all are settled.
  UnsettledSlots* of_pool(size_t pool) const { return pool < pools_.size() ? pools_[pool].get() : nullptr; }

  /// For tests: as if `ticks` more had gone by since all that it knows of.
  void grow_older(uint32_t ticks);

 private:
  UnsettledBlocks(const SnapshotView& view, std::span<linimo_xdp_service> services)
      : view_(view), services_(services), pools_(view.pools().size()) {}
  void tell_services(size_t pool, uint32_t block);

  std::optional<SnapshotView> view_;
  std::span<linimo_xdp_service> services_;
  UniqueFd map_;
  Mapping memory_;
  std::vector<std::unique_ptr<UnsettledSlots>> pools_;  // null where all are settled
};

}  // namespace linimo::xdp
