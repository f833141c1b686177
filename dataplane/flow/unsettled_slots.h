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
// A packet of a settled slot costs one bit test more than with the table alone: 8 KiB of bits for 65537
// slots, that the cache keeps. What is known of an unsettled slot lies packed, found by rank.
//
// Workers look up and stamp, each in stamps of its own; the control thread carries the state from generation
// to generation and settles.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "maglev/snapshot.h"

namespace linimo {

class UnsettledSlots {
 public:
  /// What the slots of the generation before were, if there was one with the same pool.
  struct Before {
    const UnsettledSlots* slots = nullptr;  // null: all were settled
    std::span<const linimo_slot> table;
    std::span<const linimo_backend> backends;
  };

  /// Of a pool of a validated snapshot. Those that it lists are learning; those that were not settled go on.
  /// `window_s`: how long flows may be silent. Null where all slots are settled.
  static std::unique_ptr<UnsettledSlots> make(const SnapshotView& view, const linimo_pool& pool,
                                              uint32_t window_s, uint32_t workers, uint32_t now_s,
                                              const Before& before);

  bool contains(uint32_t slot) const {
    return (words_[slot / 64].unsettled.load(std::memory_order_relaxed) >> slot % 64 & 1) != 0;
  }

  /// Where a packet goes that begins no flow, of a flow that nobody knows: an index into the pool's
  /// backends, or LINIMO_NO_BACKEND: where the table says. For a slot that is contained.
  uint16_t base(uint32_t slot, uint32_t now_s) const {
    const Learning& learning = learning_[rank(slot)];
    // Seconds wrap; a window is far shorter than half of them.
    return static_cast<int32_t>(learning.until_s - now_s) > 0 ? learning.base : uint16_t{LINIMO_NO_BACKEND};
  }

  /// A packet of worker `worker` has gone elsewhere than to the slot's current backend.
  void deviated(uint32_t worker, uint32_t slot, uint32_t now_s) {
    stamp(worker, rank(slot)).store(now_s, std::memory_order_relaxed);
  }

  /// Control thread: what workers stamped in the generation before, until they had all left it.
  void take_stamps(const UnsettledSlots& before);

  /// Control thread, now and then: settles what may be settled.
  void settle(uint32_t now_s);

  /// Slots that are not settled.
  uint32_t count() const { return count_; }

 private:
  struct Word {
    uint64_t listed = 0;                  // never changes: ranks are counted in it
    std::atomic<uint64_t> unsettled = 0;  // of those listed
    uint32_t rank = 0;                    // of the word's first slot
  };
  struct Learning {
    uint32_t until_s;
    uint16_t base;
  };

  UnsettledSlots(uint32_t table_size, size_t slots, uint32_t window_s, uint32_t workers);

  uint32_t rank(uint32_t slot) const {
    const Word& word = words_[slot / 64];
    const uint64_t before = word.listed & ((uint64_t{1} << slot % 64) - 1);
    return word.rank + static_cast<uint32_t>(__builtin_popcountll(before));
  }
  std::atomic<uint32_t>& stamp(uint32_t worker, uint32_t rank) const {
    return stamps_[worker * stamps_of_worker_ + rank];
  }
  uint32_t last_deviation(uint32_t rank) const;
  template <typename Visit>
  void for_each(Visit visit) const;  // (slot, rank) of those unsettled

  std::vector<Word> words_;
  std::vector<Learning> learning_;
  std::unique_ptr<std::atomic<uint32_t>[]> stamps_;  // of each worker, on cache lines of its own
  size_t stamps_of_worker_;
  uint32_t window_s_;
  uint32_t workers_;
  uint32_t count_ = 0;
};

}  // namespace linimo
