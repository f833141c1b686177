// The router before the nodes: spreads flows over those that are announced.
//
// kModulo: the hash modulo the number of nodes; when one comes or goes, almost every flow moves. kResilient:
// what routers call resilient or consistent hashing; only the flows of a node that goes, or as many as one
// that comes gets, move. A node that goes is gone at once: until BFD has noticed, packets are lost, and come
// again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bench/fleet/random.h"

namespace linimo::fleet {

class Ecmp {
 public:
  enum class Kind : uint8_t { kModulo, kResilient };

  Ecmp(uint32_t nodes, Kind kind) : kind_(kind), live_(nodes), buckets_(size_t{nodes} * kBucketsPerNode) {
    for (uint32_t node = 0; node < nodes; ++node) live_[node] = node;
    fill();
  }

  void lose(uint32_t node) {
    std::erase(live_, node);
    fill();
  }
  void gain(uint32_t node) {
    live_.insert(std::lower_bound(live_.begin(), live_.end(), node), node);
    fill();
  }

  const std::vector<uint32_t>& live() const { return live_; }

  /// `hash`: the router's own, of the flow.
  uint32_t node_of(uint32_t hash) const {
    return kind_ == Kind::kModulo ? live_[hash % live_.size()] : buckets_[hash % buckets_.size()];
  }

 private:
  static constexpr uint32_t kBucketsPerNode = 64;

  /// Each bucket goes to the node that ranks highest for it.
  void fill() {
    const auto rank = [](uint64_t bucket, uint64_t node) { return Random(bucket << 32 | node).next(); };
    for (uint32_t b = 0; b < buckets_.size(); ++b) {
      buckets_[b] = *std::max_element(live_.begin(), live_.end(),
                                      [&](uint32_t x, uint32_t y) { return rank(b, x) < rank(b, y); });
    }
  }

  Kind kind_;
  std::vector<uint32_t> live_;  // sorted
  std::vector<uint32_t> buckets_;
};

}  // namespace linimo::fleet
