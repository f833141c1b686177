#include "dataplane/flow/fragment_memory.h"

#include <algorithm>

namespace linimo {
namespace {

constexpr uint64_t kNsOfMs = 1'000'000;

}  // namespace

FragmentMemory::FragmentMemory()
    : owned_(std::make_unique<Bucket[]>(LINIMO_FRAGMENT_BUCKETS)), buckets_(owned_.get()) {}

FragmentMemory::FragmentMemory(std::span<std::byte> memory)
    : buckets_(reinterpret_cast<Bucket*>(memory.data())) {}

void FragmentMemory::remember(uint64_t datagram, const Choice& choice, uint64_t now_ms) {
  const uint64_t now_ns = now_ms * kNsOfMs;
  __u64* best = nullptr;
  uint32_t best_rank = 0;
  for (__u64& word : bucket(datagram).words) {
    const uint32_t rank = linimo_fragment_rank(word, datagram, now_ns);
    if (best != nullptr && rank <= best_rank) continue;
    best = &word;
    best_rank = rank;
  }
  const __u64 made = linimo_fragment_word(datagram, choice.backend_id, choice.service_id, now_ns);
  __atomic_store_n(best, made, __ATOMIC_RELAXED);
}

bool FragmentMemory::is_live(__u64 word, uint64_t now_ms) {
  return !linimo_fragment_is_over(word, now_ms * kNsOfMs);
}

bool FragmentMemory::has_datagram_of(const Bucket& bucket, __u64 word) {
  const auto fingerprint = [](__u64 of) { return of >> LINIMO_FRAGMENT_FINGERPRINT_SHIFT; };
  return std::ranges::any_of(bucket.words, [&](__u64 other) {
    return (other & LINIMO_FRAGMENT_WRITTEN) != 0 && fingerprint(other) == fingerprint(word);
  });
}

std::optional<FragmentMemory::Choice> FragmentMemory::find(uint64_t datagram, uint64_t now_ms) const {
  const __u64 word = linimo_fragment_in(bucket(datagram).words, datagram, now_ms * kNsOfMs);
  if (word == 0) return std::nullopt;
  return choice_of(word);
}

}  // namespace linimo
