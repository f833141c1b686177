// Word from node to node, past the store: sooner than a lease that runs out, and no more than a hint. A
// silence is told of; a digest that differs for the same table is an alarm. Nothing is decided by either.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_heartbeat(State& s, const Heartbeat& heartbeat, Actions& out);
void beat(State& s, Actions& out);

}  // namespace linimo::fleet
