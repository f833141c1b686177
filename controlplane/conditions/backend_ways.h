// Whether the data plane has a way to each backend: what it says of its next hops, by backend id. A backend
// without a way counts as down for announcement, once that has lasted for a moment: a route that is replaced
// takes nothing away. Pure; time is given.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <span>

#include "maglev/next_hop.h"

namespace linimo {

class BackendWays {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kFailsAfter{1000};

  /// A range of states as protocol::NextHops has them, which began at `since` unless they were known before.
  void learn(uint32_t first_id, std::span<const uint8_t> states, Time since);
  /// Another data plane: nothing is known.
  void forget() { without_.clear(); }

  /// Why there is none; nullptr: there is one, or nobody can say.
  const char* problem(uint32_t backend_id) const;
  /// The same, once it has lasted.
  bool has_failed(uint32_t backend_id, Time now) const;

  size_t without() const { return without_.size(); }

 private:
  struct Without {
    linimo_next_hop_state state;
    Time since;
  };
  std::map<uint32_t, Without> without_;  // by backend id
};

}  // namespace linimo
