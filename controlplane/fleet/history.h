// What tables were made from until lately, as it travels in the numbered state: remaining durations, since no
// two nodes' clocks agree.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "controlplane/fleet/records.h"

namespace linimo::fleet {

/// The history of the state that follows `before`, which was in force with `revision` (0: nothing was) for
/// `elapsed` and is now replaced. What was before the window goes; of more than kMostPast the oldest.
std::vector<Past> history_after(const StateRecord& before, uint64_t revision,
                                std::chrono::milliseconds elapsed, std::chrono::milliseconds window);

}  // namespace linimo::fleet
