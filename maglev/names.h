// What the values of the snapshot's enumerations are called: in the configuration, in what the API shows, in
// the packet suite's cases. In the order of abi.h.
#pragma once

#include <iterator>
#include <string_view>

#include "maglev/abi.h"

namespace linimo {

inline constexpr std::string_view kEncapsulationNames[] = {"ipip", "gre", "gue"};
inline constexpr std::string_view kTrackingNames[] = {"off", "full", "adaptive"};
inline constexpr std::string_view kSchedulerNames[] = {"maglev", "source-hash", "round-robin",
                                                       "weighted-round-robin", "least-connections"};
inline constexpr std::string_view kNoBackendNames[] = {"drop", "reject"};

static_assert(std::size(kEncapsulationNames) == LINIMO_ENCAP_COUNT &&
                  std::size(kTrackingNames) == LINIMO_TRACKING_COUNT &&
                  std::size(kSchedulerNames) == LINIMO_SCHEDULER_COUNT &&
                  std::size(kNoBackendNames) == LINIMO_NO_BACKEND_COUNT,
              "each value has a name");

}  // namespace linimo
