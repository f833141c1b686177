#include "controlplane/fleet/excuses.h"

#include <algorithm>

#include "controlplane/fleet/last_announcer.h"

namespace linimo::fleet {

std::vector<std::string> excuses(const View& view, const std::vector<std::string>& before) {
  std::vector<std::string> excused;
  const auto consider = [&](bool was_excused) {
    for (const auto& [complaining, observations] : view.observations) {
      const std::string& name = complaining;  // clang captures no structured binding
      if (!observations || observations->complaint.empty()) continue;
      if (std::binary_search(before.begin(), before.end(), name) != was_excused) continue;
      const auto node = view.nodes.find(name);
      if (node == view.nodes.end() || !node->second) continue;
      const auto& announces = node->second->announces;
      if (!std::all_of(announces.begin(), announces.end(),
                       [&](const std::string& vip) { return others_announce(view, excused, name, vip); }))
        continue;
      excused.insert(std::lower_bound(excused.begin(), excused.end(), name), name);
    }
  };
  consider(true);
  consider(false);
  return excused;
}

}  // namespace linimo::fleet
