#include "bench/forwarding/arrivals.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <rte_mbuf.h>

namespace linimo::bench {

void Histogram::add(const Histogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

uint64_t Histogram::count() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

double Histogram::quantile(double share) const {
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count())));
  uint64_t below = 0;
  for (uint32_t part = 0; part < counts_.size(); ++part) {
    below += counts_[part];
    if (below != 0 && below >= wanted) return middle(part);
  }
  return 0;
}

double Histogram::middle(uint32_t part) {
  if (part < 2 * kParts) return part;
  const uint32_t octave = part / kParts - 1;
  return (static_cast<double>(part % kParts + kParts) + 0.5) * std::exp2(octave);
}

Arrivals::Arrivals(double mean_ticks) : gaps_(kGaps) {
  std::mt19937_64 random(kGaps);
  std::exponential_distribution<double> gap(1 / mean_ticks);
  for (uint32_t& ticks : gaps_) ticks = static_cast<uint32_t>(std::lround(std::min(gap(random), 1e9)));
}

uint16_t Arrivals::due(uint64_t now, uint16_t most) {
  most = static_cast<uint16_t>(std::min<uint32_t>(most, kMost));
  uint16_t count = 0;
  uint64_t time = next_;
  while (count < most && time <= now) {
    due_[count] = time;
    time += gaps_[(at_ + count++) % kGaps];
  }
  return count;
}

void Arrivals::came(std::span<rte_mbuf*> mbufs) {
  for (size_t i = 0; i < mbufs.size(); ++i) {
    mbufs[i]->hash.rss = static_cast<uint32_t>(due_[i]);
    next_ = due_[i] + gaps_[at_++ % kGaps];
  }
}

void Arrivals::left(std::span<rte_mbuf*> mbufs, uint64_t now) {
  for (const rte_mbuf* mbuf : mbufs) stays_.add(static_cast<uint32_t>(now) - mbuf->hash.rss);
}

}  // namespace linimo::bench
