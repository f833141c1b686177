// Whether what the store says may be followed.
//
// A store that was emptied or restored from a backup says what was long ago, or nothing. So does, for a
// moment, a member that lags. A node remembers how far the store's history was (Floors) and follows nothing
// older: tables stay, nothing is written but what is the node's own, and after a while there is an alarm. A
// member that lags catches up. Of a store that was restored an operator has to say that it counts, by raising
// its epoch.
//
// The fence is guarded here a second time: what a leader wrote after a later one was elected is not followed.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void judge_store(State& s, Actions& out);

/// That anything in it was written in. Newer than what was read at once: part of it is from before a restore.
uint64_t newest_epoch(const View& view);

/// The leader key is this process's, and its lease lasts, whether or not it is fit to lead.
bool holds_lead(const State& s);

}  // namespace linimo::fleet
