// What every scenario of the simulation has in common.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "maglev/table.h"

namespace linimo::fleet {

/// Ways of tracking. All of them see the very same packets, each with tables of its own.
/// `kShared`: adaptive, and nodes tell each other of flows (maglev/rules/sharing.h).
enum Mode : size_t { kOff, kFull, kAdaptive, kShared, kModes };
inline constexpr std::array<Mode, kModes> kAllModes = {kOff, kFull, kAdaptive, kShared};
inline constexpr std::array<Mode, 3> kWithTables = {kFull, kAdaptive, kShared};
inline constexpr std::array<const char*, kModes> kModeNames = {"off", "full", "adaptive", "shared"};

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
  uint32_t told_flows = 65536;      // that a node has room for, of which others have told it
  uint32_t telling_ms = 200;        // until the others hear
  uint32_t telling_lost = 10;       // of a thousand, for each of them
  uint64_t seed = 1;

  /// Until then nothing changes, so that there is something that a change can break.
  uint32_t warm_up_s() const { return duration_s / 8; }
};

/// Virtual time goes on in steps of this; what happens within one happens in any order.
inline constexpr uint32_t kStep_ms = 100;

}  // namespace linimo::fleet
