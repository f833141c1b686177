// How a revision comes into force: every node that lives has read it and can live with it, or it does not.
#pragma once

#include <string>
#include <vector>

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_validated(State& s, const Validated& validated);

/// Has the active revision and the candidate validated here.
void validate(State& s, Actions& out);

/// What became of a revision here; nullptr: nobody has asked.
const Validation* find_validation(const State& s, uint64_t number, uint64_t digest);
/// What this node has to say of the candidate; nullptr: nothing yet.
const Validation* vote_of(const State& s);

/// Nodes that have not said yet whether they can live with the revision that waits.
std::vector<std::string> undecided(const View& view);

/// For the leader: the candidate, if every node in the view is ready for it and the health of its backends is
/// known, or was waited for long enough.
bool may_activate(State& s);

}  // namespace linimo::fleet
