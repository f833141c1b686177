// From what single nodes see to what the fleet holds, and what follows for a node that sees something else.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_observed(State& s, const Observed& observed);

/// Which nodes check what (checkers.h): of the table in use and of the revision that waits. Asks for other
/// checks where this node's own have changed.
void assign_checks(State& s, Actions& out);

/// Writes down what this node sees, and whether it has contradicted the state for too long.
void observe(State& s, Actions& out);

/// The backends' states by the view's observations: a backend's changes when a majority of its checkers
/// agree; a tie, or no majority, keeps it. Likewise whether it asks for no new flows, and how much of its
/// weight it has.
BackendStates merged(const State& s);

}  // namespace linimo::fleet
