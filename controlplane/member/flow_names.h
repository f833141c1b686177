// Between the numbers that this node has for services and backends and the digests of their names by which
// nodes speak of them: from the live snapshot, which is read anew when a name is missing, at most once a
// second. (A number stands for one name as long as that exists, and rests afterwards.)
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "controlplane/fleet/flow_news.h"
#include "maglev/snapshot.h"

namespace linimo {

class FlowNames {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Those of names that are known; the others are left out.
  std::vector<fleet::SharedFlow> to_fleet(std::span<const linimo_flow_word> words, const SnapshotView& live,
                                          Time now);
  std::vector<linimo_flow_word> from_fleet(std::span<const fleet::SharedFlow> flows, const SnapshotView& live,
                                           Time now);

 private:
  struct Names {
    std::unordered_map<uint64_t, uint32_t> numbers;
    std::unordered_map<uint32_t, uint64_t> digests;

    void add(uint32_t number, uint64_t digest);
  };
  bool read_anew(const SnapshotView& live, Time now);

  Names services_, backends_;
  uint64_t generation_ = 0;  // that they are of
  Time read_{};
};

}  // namespace linimo
