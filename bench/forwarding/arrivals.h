// When packets arrive, and how long each stays: an open loop. They come by chance (Poisson), at a rate of
// their own, whether whoever forwards them is ready or not; what waits because of others counts as waiting.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

struct rte_mbuf;

namespace linimo::bench {

/// Of times, in ticks: each power of two in 32 parts, so that a value is known to some three per cent.
class Histogram {
 public:
  void add(uint32_t ticks) { ++counts_[index_of(ticks)]; }
  void add(const Histogram& other);
  uint64_t count() const;
  /// Below which that share of the values lies; 1: the largest.
  double quantile(double share) const;

  /// What is in the i-th part, and the part's middle.
  static constexpr uint32_t kParts = 32, kSize = (32 - 5 + 1) * kParts;
  uint64_t operator[](uint32_t part) const { return counts_[part]; }
  static double middle(uint32_t part);

 private:
  static uint32_t index_of(uint32_t ticks) {
    const auto octave = static_cast<uint32_t>(31 - __builtin_clz(ticks | kParts));  // at least 5
    return (octave - 5) * kParts + (ticks >> (octave - 5));
  }

  std::array<uint32_t, kSize> counts_{};
};

class Arrivals {
 public:
  /// `mean_ticks`: of the time stamp counter, from one to the next.
  explicit Arrivals(double mean_ticks);

  void begin(uint64_t now) { next_ = now; }

  /// How many have come, and `came` has not been told of; at most `most`.
  uint16_t due(uint64_t now, uint16_t most);

  /// These are the next that came: each gets its time of arrival, in a word of the mbuf that a NIC would have
  /// written.
  void came(std::span<rte_mbuf*> mbufs);

  void left(std::span<rte_mbuf*> mbufs, uint64_t now);

  const Histogram& stays() const { return stays_; }

 private:
  static constexpr uint32_t kGaps = 1 << 14;  // again and again: a multiple of any burst
  static constexpr uint32_t kMost = 64;

  std::vector<uint32_t> gaps_;
  uint64_t at_ = 0;    // gaps used
  uint64_t next_ = 0;  // when the first comes that is not due yet
  std::array<uint64_t, kMost> due_{};
  Histogram stays_;
};

}  // namespace linimo::bench
