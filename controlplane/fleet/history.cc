#include "controlplane/fleet/history.h"

namespace linimo::fleet {

std::vector<Past> history_after(const StateRecord& before, uint64_t revision,
                                std::chrono::milliseconds elapsed, std::chrono::milliseconds window) {
  std::vector<Past> history;
  if (revision != 0 && window > window.zero()) history.push_back({revision, before.backends, {}});
  for (const Past& past : before.history) {
    if (history.size() == kMostPast) break;
    if (past.ago + elapsed < window) history.push_back({past.revision, past.backends, past.ago + elapsed});
  }
  return history;
}

}  // namespace linimo::fleet
