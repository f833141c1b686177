// From what the store says to the table that the data plane has: of revision and state together, and never
// less than was there before.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_live(State& s, const TableLive& live);
void take_refused(State& s, const TableRefused& refused, Actions& out);

/// Takes over the active revision, once it is valid here, and the newest state; has a table made of what is
/// new.
void adopt(State& s, Actions& out);

}  // namespace linimo::fleet
