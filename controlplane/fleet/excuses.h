// Which nodes that ask not to announce are let go.
#pragma once

#include <string>
#include <vector>

#include "controlplane/fleet/view.h"

namespace linimo::fleet {

/// Of the nodes that complain, those without which every VIP that they announce is announced still: first who
/// was excused before, then by name. Sorted.
std::vector<std::string> excuses(const View& view, const std::vector<std::string>& before);

}  // namespace linimo::fleet
