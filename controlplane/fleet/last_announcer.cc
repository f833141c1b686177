#include "controlplane/fleet/last_announcer.h"

#include <algorithm>

namespace linimo::fleet {

bool others_announce(const View& view, const std::vector<std::string>& excused, const std::string& node,
                     const std::string& vip) {
  return std::any_of(view.nodes.begin(), view.nodes.end(), [&](const auto& other) {
    const auto& [name, held] = other;
    return name != node && held && std::binary_search(held->announces.begin(), held->announces.end(), vip) &&
           !std::binary_search(excused.begin(), excused.end(), name);
  });
}

}  // namespace linimo::fleet
