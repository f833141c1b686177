// What every scenario of the simulation has in common.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "maglev/table.h"

namespace linimo::fleet {

/// Ways of tracking. All of them see the very same packets, each with tables of its own.
enum Mode : size_t { kOff, kFull, kAdaptive, kModes };
inline constexpr std::array<const char*, kModes> kModeNames = {"off", "full", "adaptive"};

template <typename T>
using ByMode = std::array<T, kModes>;

struct Settings {
  uint64_t connections = 10'000'000;  // that begin, in each scenario
  uint32_t nodes = 32;
  uint32_t backends = 1000;
  uint32_t table_size = kDefaultTableSize;
  uint32_t duration_s = 7200;
  uint32_t idle_timeout_s = 900;
  uint32_t flows_per_node = 65536;  // that a node's connection table is made for
  uint32_t skew_ms = 2000;          // nodes get a change up to so much later than the first of them
  uint64_t seed = 1;

  /// Until then nothing changes, so that there is something that a change can break.
  uint32_t warm_up_s() const { return duration_s / 8; }
};

/// Virtual time goes on in steps of this; what happens within one happens in any order.
inline constexpr uint32_t kStep_ms = 100;

}  // namespace linimo::fleet
