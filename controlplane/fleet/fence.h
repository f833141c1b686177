// The lock that is none: a lease says that its holder is probably alone. What makes a leader harmless that
// slept while another was elected is that each of its writes is refused by the store (Kleppmann, "How to do
// distributed locking", 2016).
#pragma once

#include <vector>

#include "controlplane/fleet/actions.h"
#include "controlplane/fleet/view.h"

namespace linimo::fleet {

/// What must hold whenever the leader that a view shows writes: its key is the one that was created for it,
/// and the store lives the life that the view is of.
std::vector<Compare> fence_of(const View& view);

}  // namespace linimo::fleet
