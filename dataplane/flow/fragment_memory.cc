#include "dataplane/flow/fragment_memory.h"

#include <algorithm>

namespace linimo {
namespace {

constexpr uint64_t kSkew_ms = 1000;  // an entry of another worker's may seem to come from the future

uint64_t load(const uint64_t& word) {
  return __atomic_load_n(&word, __ATOMIC_RELAXED);
}
void store(uint64_t& word, uint64_t value) {
  __atomic_store_n(&word, value, __ATOMIC_RELAXED);
}

/// Of an entry, in milliseconds; 0 for one from the future.
uint64_t age_of(uint64_t word, uint64_t now_ms) {
  const uint64_t age = (now_ms - (word >> 1)) & 0xfff;
  return age >= 0x1000 - kSkew_ms ? 0 : age;
}

}  // namespace

FragmentMemory::FragmentMemory() : buckets_(std::make_unique<Bucket[]>(kBuckets)) {}

void FragmentMemory::remember(uint64_t datagram, const Choice& choice, uint64_t now_ms) {
  uint64_t* oldest = nullptr;
  uint64_t oldest_age = 0;
  for (uint64_t& word : bucket(datagram).words) {
    // A place that this very datagram has is used before any other: there must never be two.
    const bool same = (word & kUsed) != 0 && word >> kFingerprintShift == fingerprint(datagram);
    const uint64_t age = same ? ~uint64_t{0} : (word & kUsed) == 0 ? 0x1000 : age_of(word, now_ms);
    if (oldest != nullptr && age <= oldest_age) continue;
    oldest = &word;
    oldest_age = age;
  }
  store(*oldest, fingerprint(datagram) << kFingerprintShift | uint64_t{choice.backend_id} << kBackendShift |
                     uint64_t{choice.service_id} << kServiceShift | (now_ms & kStampMask) << kStampShift |
                     kUsed);
}

std::optional<FragmentMemory::Choice> FragmentMemory::find(uint64_t datagram, uint64_t now_ms) const {
  for (const uint64_t& at : bucket(datagram).words) {
    const uint64_t word = load(at);
    if ((word & kUsed) == 0 || word >> kFingerprintShift != fingerprint(datagram)) continue;
    if (age_of(word, now_ms) >= kLife_ms) return std::nullopt;
    return Choice{static_cast<uint32_t>(word >> kBackendShift & kBackendMask),
                  static_cast<uint32_t>(word >> kServiceShift & kServiceMask)};
  }
  return std::nullopt;
}

void FragmentMemory::sweep(uint64_t now_ms) {
  const uint64_t elapsed_ms = std::min(now_ms - swept_ms_, kSweep_ms);
  const bool lost_count = now_ms - swept_ms_ >= 0x1000 - kSkew_ms - kLife_ms;  // stamps may lie by now
  swept_ms_ = now_ms;
  for (uint64_t i = 0; i < elapsed_ms * kBuckets / kSweep_ms; ++i) {
    for (uint64_t& word : buckets_[sweep_next_].words) {
      if ((word & kUsed) != 0 && (lost_count || age_of(word, now_ms) >= kLife_ms)) store(word, 0);
    }
    sweep_next_ = (sweep_next_ + 1) % kBuckets;
  }
}

}  // namespace linimo
