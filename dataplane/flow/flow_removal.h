// How another thread has entries of a connection table removed: by the table's owner, who alone writes it.
//
//   control thread                                owner, about every millisecond
//   removal.ask(places);                          removal.serve(table);
//   while (!removal.removed()) wait a little;
//
// One store of each side says that the other may go on, so neither locks nor waits within. What an entry was
// taken for when it was seen it must be still (linimo_flow_is_same): what came in its place stays.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/flow/connection_table.h"
#include "dataplane/flow/flow_tables.h"

namespace linimo {

class FlowRemoval {
 public:
  /// At a time: what an owner may be kept from its packets for.
  static constexpr size_t kMost = 512;

  /// Control thread; at most kMost. False: what was asked for before is not done yet.
  bool ask(std::span<const FlowPlace> places) {
    if (asked_.load(std::memory_order_relaxed) != served_.load(std::memory_order_acquire)) return false;
    count_ = std::min(places.size(), kMost);
    std::copy_n(places.begin(), count_, places_.begin());
    asked_.fetch_add(1, std::memory_order_release);
    return true;
  }

  /// Control thread: how many of them were removed; nothing: that is not done yet.
  std::optional<size_t> removed() const {
    if (asked_.load(std::memory_order_relaxed) != served_.load(std::memory_order_acquire))
      return std::nullopt;
    return removed_;
  }

  /// The owner.
  void serve(ConnectionTable& table) {
    const uint32_t asked = asked_.load(std::memory_order_acquire);
    if (asked == served_.load(std::memory_order_relaxed)) return;
    removed_ = 0;
    for (const FlowPlace& place : std::span(places_).first(count_))
      removed_ += table.remove(place.index, place.word) ? 1 : 0;
    served_.store(asked, std::memory_order_release);
  }

 private:
  std::atomic<uint32_t> asked_ = 0, served_ = 0;
  size_t count_ = 0, removed_ = 0;
  std::array<FlowPlace, kMost> places_;
};

}  // namespace linimo
