#include "controlplane/fleet/history.h"

namespace linimo::fleet {

std::vector<Past> history_after(const StateRecord& before, uint64_t revision,
                                std::chrono::milliseconds elapsed, std::chrono::milliseconds window) {
  std::vector<Past> history;
  if (revision != 0) history.push_back({revision, before.backends, window});
  for (const Past& past : before.history) {
    if (history.size() == kMostPast) break;
    if (past.left > elapsed) history.push_back({past.revision, past.backends, past.left - elapsed});
  }
  return history;
}

}  // namespace linimo::fleet
