// Being the leader: to have created the leader key, under the lease that still lasts. The leader alone
// numbers states and activates revisions, each time under its fence (fence.h) and only over what it has seen.
//
// Who finds no leader tries to be it; the store takes one. Who leads and cannot (it does not hold the active
// revision, it does not trust the store) makes room after a while.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void lead(State& s, Actions& out);

}  // namespace linimo::fleet
