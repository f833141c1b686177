// A node that has lost its way does not announce; the last one that announces a VIP does, whatever it has
// lost.
#pragma once

#include <string>
#include <vector>

#include "controlplane/fleet/view.h"

namespace linimo::fleet {

/// Whether a node other than `node` announces the VIP and means to go on: it is not excused (sorted).
bool others_announce(const View& view, const std::vector<std::string>& excused, const std::string& node,
                     const std::string& vip);

}  // namespace linimo::fleet
