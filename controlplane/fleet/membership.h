// What a node writes of itself, all under its lease but its votes: that it lives, what it sees, what it is
// ready for. What it wants to stand there is compared with what stands there, and the difference is one
// transaction.
//
// Each key is written only over what this node knows to stand there, so that a transaction that was long on
// its way, perhaps from an earlier life of this node, undoes nothing. Of two processes of one name the later
// one is the node; the other stands back.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void write_own(State& s, Actions& out);

void describe(State& s, const Described& described);

/// The store knows that this process lives.
bool is_member(const State& s);

}  // namespace linimo::fleet
