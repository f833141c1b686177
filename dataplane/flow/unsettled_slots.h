// Which slots of a pool's table are not settled, for services that track adaptively.
//
// While a slot's backend has not changed, the table itself is the memory, and no flow needs an entry in a
// connection table. A slot whose backend has changed is unsettled: its flows are tracked, as with full
// tracking, but that a packet of a flow that nobody knows, and that does not begin one, goes to the slot's
// base, the backend before the change, while the slot is learning. Every packet that goes elsewhere than to
// the slot's current backend is a deviation, and is stamped. The slot settles once its learning window is
// over and nothing has deviated for as long as flows may be silent: every flow that is left follows the
// table.
//
// A packet of a settled slot costs one bit test more than with the table alone. What is known of an unsettled
// slot lies packed, found by rank (maglev/unsettled.h).
//
// Workers look up and stamp, each in stamps of its own; the control thread carries the state from generation
// to generation and settles. The XDP program is such a worker too: then the memory is a map's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "maglev/rules/adaptive.h"
#include "maglev/snapshot.h"
#include "maglev/unsettled.h"

namespace linimo {

/// By pool: the longest idle timeout of its adaptive services, for which flows may be silent; 0: it has none.
std::vector<uint32_t> adaptive_windows_s(const SnapshotView& view);

/// By pool: where the pool of that name is among those of the snapshot before, or kNoPool.
constexpr size_t kNoPool = ~size_t{0};
std::vector<size_t> pools_of_same_name(const SnapshotView& view, const SnapshotView& before);

class UnsettledSlots {
 public:
  /// What the slots of the generation before were, if there was one with the same pool.
  struct Before {
    const UnsettledSlots* slots = nullptr;  // null: all were settled
    const SnapshotView* view = nullptr;     // null: there was none
    const linimo_pool* pool = nullptr;
  };

  /// Of the workers. Its unit is a second, or what `units` makes of seconds.
  struct Clock {
    uint32_t now = 0;
    uint32_t (*units)(uint32_t seconds) = [](uint32_t seconds) { return seconds; };
  };

  /// What becomes of a pool of a validated snapshot. The slots that it lists are learning; those that were
  /// not settled go on. All that it is given must outlive it.
  class Plan {
   public:
    /// `window_s`: how long flows may be silent; 0: none is adaptive.
    Plan(const SnapshotView& view, const linimo_pool& pool, uint32_t window_s, const Before& before);

    bool all_settled() const { return count_ == 0; }
    size_t bytes(uint32_t workers) const;

   private:
    friend UnsettledSlots;
    const SnapshotView& view_;
    const linimo_pool& pool_;
    const Before before_;
    uint32_t window_s_;
    bool again_ = false;          // the very snapshot that was before: its windows go on
    std::vector<uint64_t> bits_;  // of slots
    uint32_t count_ = 0;
  };

  /// `memory`: zeroed, aligned to a line, of the planned size; it must outlive the object.
  UnsettledSlots(const Plan& plan, uint32_t workers, const Clock& clock, std::byte* memory);

  /// What another process made there.
  explicit UnsettledSlots(std::byte* memory);

  /// Plans, and lays it out in memory of its own. Null where all slots are settled.
  static std::unique_ptr<UnsettledSlots> make(const SnapshotView& view, const linimo_pool& pool,
                                              uint32_t window_s, uint32_t workers, uint32_t now_s,
                                              const Before& before);

  bool contains(uint32_t slot) const {
    return linimo_slot_is_unsettled(
               std::atomic_ref(words_[slot / 64].unsettled).load(std::memory_order_relaxed), slot) != 0;
  }

  /// Where a packet goes that begins no flow, of a flow that nobody knows: an index into the pool's
  /// backends, or LINIMO_NO_BACKEND: where the table says. For a slot that is contained.
  uint16_t base(uint32_t slot, uint32_t now) const { return linimo_base_of(&learning_[rank(slot)], now); }

  /// For how many units more the base counts; below 1: it does not. For a slot that is contained.
  int32_t base_left(uint32_t slot, uint32_t now) const {
    return static_cast<int32_t>(learning_[rank(slot)].until - now);
  }

  /// A packet of worker `worker` has gone elsewhere than to the slot's current backend.
  void deviated(uint32_t worker, uint32_t slot, uint32_t now) {
    stamp(worker, rank(slot)).store(now, std::memory_order_relaxed);
  }

  /// Control thread: what workers stamped in the generation before, until they had all left it.
  void take_stamps(const UnsettledSlots& before);

  /// Control thread, now and then: settles what may be settled.
  void settle(uint32_t now);

  /// Slots that are not settled.
  uint32_t count() const { return count_; }

  /// For tests: as if `units` more had gone by since all that it knows of.
  void grow_older(uint32_t units);

 private:
  void find_parts(std::byte* memory);
  uint32_t words() const { return (head_->table_size + 63) / 64; }
  uint32_t rank(uint32_t slot) const { return linimo_slot_rank(&words_[slot / 64], slot); }
  std::atomic_ref<uint32_t> stamp(uint32_t worker, uint32_t rank) const {
    return std::atomic_ref(stamps_[size_t{worker} * stamps_of_worker_ + rank]);
  }
  uint32_t last_deviation(uint32_t rank) const;
  template <typename Visit>
  void for_each(Visit visit) const;  // (slot, rank) of those unsettled

  linimo_unsettled_head* head_;
  linimo_unsettled_word* words_;
  linimo_learning* learning_;
  uint32_t* stamps_;  // of each worker, on lines of its own
  uint32_t stamps_of_worker_;
  uint32_t count_ = 0;
  std::shared_ptr<std::byte> owned_;  // the memory, where it is the object's own
};

}  // namespace linimo
