// What a node announces. It withdraws for reasons of its own alone: it cannot forward, it is drained, or it
// has lost its way and the leader has let it go (excuses.h) while others announce. Without word from the
// store it does not know that they do, and announces.
//
// A node that starts begins once it has forwarded by what the store says, or an alarm tells that it goes by
// what it remembers: flows that it took by older tables would break at every other node.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void announce(State& s, Actions& out);

}  // namespace linimo::fleet
