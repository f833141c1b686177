#include "dataplane/flow/unsettled_slots.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <span>
#include <string_view>
#include <unordered_map>

namespace linimo {
namespace {

/// The backend's id; no backend has kNobody.
constexpr uint32_t kNobody = ~0U;
uint32_t backend_of(std::span<const linimo_slot> table, std::span<const linimo_backend> backends,
                    uint32_t slot) {
  return table[slot] == LINIMO_NO_BACKEND ? kNobody : backends[table[slot]].id;
}

}  // namespace

std::vector<uint32_t> adaptive_windows_s(const SnapshotView& view) {
  std::vector<uint32_t> windows_s(view.pools().size());
  for (const linimo_service& service : view.services()) {
    if (service.tracking == LINIMO_TRACKING_ADAPTIVE)
      windows_s[service.pool] = std::max(windows_s[service.pool], service.idle_timeout_s);
  }
  return windows_s;
}

std::vector<size_t> pools_of_same_name(const SnapshotView& view, const SnapshotView& before) {
  std::unordered_map<std::string_view, size_t> places;
  for (size_t p = 0; p < before.pools().size(); ++p) places.emplace(before.pools()[p].name, p);
  std::vector<size_t> were;
  for (const linimo_pool& pool : view.pools()) {
    const auto found = places.find(pool.name);
    were.push_back(found == places.end() ? kNoPool : found->second);
  }
  return were;
}

UnsettledSlots::Plan::Plan(const SnapshotView& view, const linimo_pool& pool, uint32_t window_s,
                           const Before& before)
    : view_(view), pool_(pool), before_(before), window_s_(window_s) {
  if (window_s == 0) return;
  again_ = before.view != nullptr && before.view->header().checksum == view.header().checksum;
  const bool comparable = before.view != nullptr && before.pool->table_size == pool.table_size;
  const UnsettledSlots* carried = comparable && before.slots != nullptr ? before.slots : nullptr;
  const auto listed = again_ ? std::span<const linimo_unsettled>() : view.unsettled(pool);
  if (listed.empty() && (carried == nullptr || carried->count() == 0)) return;

  bits_.resize((pool.table_size + 63) / 64);
  for (const linimo_unsettled& record : listed) bits_[record.slot / 64] |= uint64_t{1} << record.slot % 64;
  if (carried != nullptr)
    carried->for_each([&](uint32_t slot, uint32_t) { bits_[slot / 64] |= uint64_t{1} << slot % 64; });
  for (const uint64_t word : bits_) count_ += static_cast<uint32_t>(__builtin_popcountll(word));
}

size_t UnsettledSlots::Plan::bytes(uint32_t workers) const {
  return size_t{linimo_stamps_line(pool_.table_size, count_, 0)} * LINIMO_UNSETTLED_LINE +
         size_t{linimo_lines_for(count_, LINIMO_STAMPS_IN_LINE)} * LINIMO_UNSETTLED_LINE * workers;
}

void UnsettledSlots::find_parts(std::byte* memory) {
  const auto line = [memory](uint32_t number) { return memory + size_t{number} * LINIMO_UNSETTLED_LINE; };
  head_ = reinterpret_cast<linimo_unsettled_head*>(memory);
  words_ = reinterpret_cast<linimo_unsettled_word*>(line(LINIMO_UNSETTLED_WORDS));
  learning_ = reinterpret_cast<linimo_learning*>(line(linimo_learning_line(head_->table_size)));
  stamps_ = reinterpret_cast<uint32_t*>(line(linimo_stamps_line(head_->table_size, head_->listed, 0)));
  stamps_of_worker_ = linimo_lines_for(head_->listed, LINIMO_STAMPS_IN_LINE) * LINIMO_STAMPS_IN_LINE;
}

UnsettledSlots::UnsettledSlots(std::byte* memory) {
  find_parts(memory);
  for_each([this](uint32_t, uint32_t) { ++count_; });
}

UnsettledSlots::UnsettledSlots(const Plan& plan, uint32_t workers, const Clock& clock, std::byte* memory)
    : count_(plan.count_) {
  const linimo_pool& pool = plan.pool_;
  new (memory) linimo_unsettled_head{pool.table_size, plan.count_, workers, clock.units(plan.window_s_), {}};
  find_parts(memory);
  uint32_t rank_of_word = 0;
  for (uint32_t w = 0; w < words(); ++w) {
    words_[w] = {plan.bits_[w], plan.bits_[w], rank_of_word, {}};
    rank_of_word += static_cast<uint32_t>(__builtin_popcountll(plan.bits_[w]));
  }

  const SnapshotView* before = plan.before_.view;
  const bool comparable = before != nullptr && plan.before_.pool->table_size == pool.table_size;
  const UnsettledSlots* carried = comparable ? plan.before_.slots : nullptr;
  std::fill_n(learning_, plan.count_, linimo_learning{0, LINIMO_NO_BACKEND, 0});
  if (!plan.again_) {
    for (const linimo_unsettled& record : plan.view_.unsettled(pool))
      learning_[rank(record.slot)] = {clock.now + clock.units(record.learning_s), record.base, 0};
  }
  for_each([&](uint32_t slot, uint32_t at) {
    const bool known = carried != nullptr && carried->contains(slot);
    if (known && plan.again_) learning_[at] = carried->learning_[carried->rank(slot)];
    // A change counts as a deviation, and so does what is heard of for the first time.
    const bool changed =
        !comparable ||
        backend_of(before->slots(*plan.before_.pool), before->backends(*plan.before_.pool), slot) !=
            backend_of(plan.view_.slots(pool), plan.view_.backends(pool), slot);
    const uint32_t last = changed || !known ? clock.now : carried->last_deviation(carried->rank(slot));
    for (uint32_t worker = 0; worker < workers; ++worker)
      stamp(worker, at).store(last, std::memory_order_relaxed);
  });
}

std::unique_ptr<UnsettledSlots> UnsettledSlots::make(const SnapshotView& view, const linimo_pool& pool,
                                                     uint32_t window_s, uint32_t workers, uint32_t now_s,
                                                     const Before& before) {
  const Plan plan(view, pool, window_s, before);
  if (plan.all_settled()) return nullptr;
  const size_t bytes = plan.bytes(workers);
  std::shared_ptr<std::byte> memory(static_cast<std::byte*>(std::aligned_alloc(LINIMO_UNSETTLED_LINE, bytes)),
                                    std::free);
  if (memory == nullptr) throw std::bad_alloc();
  std::fill_n(memory.get(), bytes, std::byte{0});
  auto made = std::make_unique<UnsettledSlots>(plan, workers, Clock{.now = now_s}, memory.get());
  made->owned_ = std::move(memory);
  return made;
}

template <typename Visit>
void UnsettledSlots::for_each(Visit visit) const {
  for (uint32_t w = 0; w < words(); ++w) {
    uint64_t left = std::atomic_ref(words_[w].unsettled).load(std::memory_order_relaxed);
    for (; left != 0; left &= left - 1) {
      const uint32_t slot = w * 64 + static_cast<uint32_t>(__builtin_ctzll(left));
      visit(slot, rank(slot));
    }
  }
}

uint32_t UnsettledSlots::last_deviation(uint32_t rank) const {
  uint32_t last = stamp(0, rank).load(std::memory_order_relaxed);
  for (uint32_t worker = 1; worker < head_->workers; ++worker) {
    const uint32_t other = stamp(worker, rank).load(std::memory_order_relaxed);
    if (linimo_is_later(other, last)) last = other;
  }
  return last;
}

void UnsettledSlots::take_stamps(const UnsettledSlots& before) {
  if (before.head_->table_size != head_->table_size || before.head_->workers != head_->workers) return;
  for_each([&](uint32_t slot, uint32_t at) {
    if (!before.contains(slot)) return;
    const uint32_t was_at = before.rank(slot);
    for (uint32_t worker = 0; worker < head_->workers; ++worker) {
      // Of two times the later; the worker may have stamped here meanwhile.
      uint32_t here = stamp(worker, at).load(std::memory_order_relaxed);
      const uint32_t there = before.stamp(worker, was_at).load(std::memory_order_relaxed);
      while (linimo_is_later(there, here) &&
             !stamp(worker, at).compare_exchange_weak(here, there, std::memory_order_relaxed)) {
      }
    }
  });
}

void UnsettledSlots::settle(uint32_t now) {
  for_each([&](uint32_t slot, uint32_t at) {
    if (!linimo_slot_settles(&learning_[at], last_deviation(at), head_->window, now)) return;
    std::atomic_ref(words_[slot / 64].unsettled).fetch_and(~(1ULL << slot % 64), std::memory_order_relaxed);
    --count_;
  });
}

void UnsettledSlots::grow_older(uint32_t units) {
  for_each([&](uint32_t, uint32_t at) {
    learning_[at].until -= units;
    for (uint32_t worker = 0; worker < head_->workers; ++worker)
      stamp(worker, at).fetch_sub(units, std::memory_order_relaxed);
  });
}

}  // namespace linimo
