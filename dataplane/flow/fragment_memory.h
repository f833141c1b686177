// Which backend the first fragment of a datagram was sent to, for two seconds.
//
// Built as the connection table is: buckets of one cache line, an entry one aligned 64-bit word, which only
// the worker that the table belongs to writes. Others may read it at any time, since NICs spread fragments
// without ports over other queues than their first. What an entry says: maglev/rules/fragment.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "maglev/rules/fragment.h"

namespace linimo {

class FragmentMemory {
 public:
  static constexpr uint32_t kEntries = LINIMO_FRAGMENT_BUCKETS * LINIMO_FRAGMENT_PLACES;

  struct Choice {
    uint32_t backend_id;
    uint32_t service_id;

    bool operator==(const Choice&) const = default;
  };

  FragmentMemory();
  /// In memory of kBytes, aligned to 64, that outlives it.
  explicit FragmentMemory(std::span<std::byte> memory);

  /// Memory that an earlier one has left, whatever it holds: clears all but what is sound, not over, and
  /// `holds(choice)`. Once, before anything else. Returns how many are left.
  template <typename Holds>
  uint64_t take_over(uint64_t now_ms, Holds holds) {
    uint64_t left = 0;
    for (uint32_t index = 0; index < LINIMO_FRAGMENT_BUCKETS; ++index) {
      for (__u64& word : buckets_[index].words) {
        const __u64 found = std::exchange(word, 0);
        if (is_live(found, now_ms) && holds(choice_of(found)) && !has_datagram_of(buckets_[index], found))
          word = found, ++left;
      }
    }
    return left;
  }

  /// The owner. `datagram`: its hash. `now_ms`: of a clock that all workers share, give or take a second.
  void remember(uint64_t datagram, const Choice& choice, uint64_t now_ms);

  /// Any thread.
  std::optional<Choice> find(uint64_t datagram, uint64_t now_ms) const;

 private:
  struct alignas(64) Bucket {
    __u64 words[LINIMO_FRAGMENT_PLACES];
  };

  static Choice choice_of(__u64 word) {
    return {linimo_fragment_backend(word), linimo_fragment_service(word)};
  }
  static bool is_live(__u64 word, uint64_t now_ms);
  static bool has_datagram_of(const Bucket& bucket, __u64 word);
  Bucket& bucket(uint64_t datagram) const { return buckets_[linimo_fragment_bucket(datagram)]; }

  std::unique_ptr<Bucket[]> owned_;
  Bucket* buckets_;

 public:
  static constexpr size_t kBytes = LINIMO_FRAGMENT_BUCKETS * sizeof(Bucket);
};

}  // namespace linimo
