#include "controlplane/conditions/backend_ways.h"

namespace linimo {

void BackendWays::learn(uint32_t first_id, std::span<const uint8_t> states, Time since) {
  for (size_t i = 0; i < states.size(); ++i) {
    const auto id = first_id + static_cast<uint32_t>(i);
    const uint8_t said = states[i];
    if (said == 0 || said > LINIMO_NEXT_HOP_RESOLVED) {  // not known, or resolved
      without_.erase(id);
      continue;
    }
    const auto state = static_cast<linimo_next_hop_state>(said - 1);
    without_.try_emplace(id, Without{state, since}).first->second.state = state;
  }
}

const char* BackendWays::problem(uint32_t backend_id) const {
  const auto found = without_.find(backend_id);
  if (found == without_.end()) return nullptr;
  switch (found->second.state) {
    case LINIMO_NEXT_HOP_NO_ROUTE:
      return "no route";
    case LINIMO_NEXT_HOP_UNRESOLVED:
      return "next hop not resolved";
    default:
      return "route leaves by an interface that is not Linimo's";
  }
}

bool BackendWays::has_failed(uint32_t backend_id, Time now) const {
  const auto found = without_.find(backend_id);
  return found != without_.end() && now >= found->second.since + kFailsAfter;
}

}  // namespace linimo
