#include "dataplane/flow/unsettled_slots.h"

#include <algorithm>

namespace linimo {
namespace {

constexpr size_t kStampsPerLine = 64 / sizeof(uint32_t);

/// The backend's id; no backend has kNobody.
constexpr uint32_t kNobody = ~0U;
uint32_t backend_of(std::span<const linimo_slot> table, std::span<const linimo_backend> backends,
                    uint32_t slot) {
  return table[slot] == LINIMO_NO_BACKEND ? kNobody : backends[table[slot]].id;
}

}  // namespace

UnsettledSlots::UnsettledSlots(uint32_t table_size, size_t slots, uint32_t window_s, uint32_t workers)
    : words_((table_size + 63) / 64),
      learning_(slots, Learning{0, LINIMO_NO_BACKEND}),
      stamps_of_worker_((slots + kStampsPerLine - 1) / kStampsPerLine * kStampsPerLine),
      window_s_(window_s),
      workers_(workers),
      count_(static_cast<uint32_t>(slots)) {
  stamps_ = std::make_unique<std::atomic<uint32_t>[]>(stamps_of_worker_ * workers);
}

template <typename Visit>
void UnsettledSlots::for_each(Visit visit) const {
  for (uint32_t w = 0; w < words_.size(); ++w) {
    for (uint64_t left = words_[w].unsettled.load(std::memory_order_relaxed); left != 0; left &= left - 1) {
      const uint32_t slot = w * 64 + static_cast<uint32_t>(__builtin_ctzll(left));
      visit(slot, rank(slot));
    }
  }
}

std::unique_ptr<UnsettledSlots> UnsettledSlots::make(const SnapshotView& view, const linimo_pool& pool,
                                                     uint32_t window_s, uint32_t workers, uint32_t now_s,
                                                     const Before& before) {
  if (window_s == 0) return nullptr;
  const auto listed = view.unsettled(pool);
  const bool comparable = before.table.size() == pool.table_size;
  const UnsettledSlots* carried = comparable ? before.slots : nullptr;
  if (listed.empty() && (carried == nullptr || carried->count() == 0)) return nullptr;

  std::vector<uint64_t> bits((pool.table_size + 63) / 64);
  for (const linimo_unsettled& record : listed) bits[record.slot / 64] |= uint64_t{1} << record.slot % 64;
  if (carried != nullptr) {
    for (size_t w = 0; w < bits.size(); ++w)
      bits[w] |= carried->words_[w].unsettled.load(std::memory_order_relaxed);
  }
  size_t slots = 0;
  for (const uint64_t word : bits) slots += static_cast<size_t>(__builtin_popcountll(word));

  std::unique_ptr<UnsettledSlots> made(new UnsettledSlots(pool.table_size, slots, window_s, workers));
  uint32_t rank = 0;
  for (size_t w = 0; w < bits.size(); ++w) {
    made->words_[w].listed = bits[w];
    made->words_[w].unsettled.store(bits[w], std::memory_order_relaxed);
    made->words_[w].rank = rank;
    rank += static_cast<uint32_t>(__builtin_popcountll(bits[w]));
  }
  for (const linimo_unsettled& record : listed)
    made->learning_[made->rank(record.slot)] = {now_s + record.learning_s, record.base};

  const auto table = view.slots(pool);
  const auto backends = view.backends(pool);
  made->for_each([&](uint32_t slot, uint32_t at) {
    // A change counts as a deviation, and so does what is heard of for the first time.
    const bool changed =
        !comparable || backend_of(before.table, before.backends, slot) != backend_of(table, backends, slot);
    const bool known = carried != nullptr && carried->contains(slot);
    const uint32_t last = changed || !known ? now_s : carried->last_deviation(carried->rank(slot));
    for (uint32_t worker = 0; worker < workers; ++worker)
      made->stamp(worker, at).store(last, std::memory_order_relaxed);
  });
  return made;
}

uint32_t UnsettledSlots::last_deviation(uint32_t rank) const {
  uint32_t last = stamp(0, rank).load(std::memory_order_relaxed);
  for (uint32_t worker = 1; worker < workers_; ++worker) {
    const uint32_t other = stamp(worker, rank).load(std::memory_order_relaxed);
    if (static_cast<int32_t>(other - last) > 0) last = other;
  }
  return last;
}

void UnsettledSlots::take_stamps(const UnsettledSlots& before) {
  if (before.words_.size() != words_.size() || before.workers_ != workers_) return;
  for_each([&](uint32_t slot, uint32_t at) {
    if (!before.contains(slot)) return;
    const uint32_t was_at = before.rank(slot);
    for (uint32_t worker = 0; worker < workers_; ++worker) {
      // Of two seconds the later; the worker may have stamped here meanwhile.
      uint32_t here = stamp(worker, at).load(std::memory_order_relaxed);
      const uint32_t there = before.stamp(worker, was_at).load(std::memory_order_relaxed);
      while (static_cast<int32_t>(there - here) > 0 &&
             !stamp(worker, at).compare_exchange_weak(here, there, std::memory_order_relaxed)) {
      }
    }
  });
}

void UnsettledSlots::settle(uint32_t now_s) {
  for_each([&](uint32_t slot, uint32_t at) {
    const bool learning = base(slot, now_s) != LINIMO_NO_BACKEND;
    const auto silent_s = static_cast<int32_t>(now_s - last_deviation(at));
    if (learning || silent_s <= static_cast<int32_t>(window_s_)) return;
    words_[slot / 64].unsettled.fetch_and(~(uint64_t{1} << slot % 64), std::memory_order_relaxed);
    --count_;
  });
}

}  // namespace linimo
