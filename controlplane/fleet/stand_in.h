// A node without word from the store that has lost its way, too: it leaves its VIPs to a node that tells by
// its heartbeats that it has word, and is well. Were all cut off, nobody would say so, and all stay.
#pragma once

#include <string>

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

/// This node may be such a one: what its heartbeats say.
bool stands_in(const State& s);

/// Somebody has lately said so who announces the VIP, and nobody counts on this node any more: its lease has
/// ended, and they know.
bool is_stood_in_for(const State& s, const std::string& vip);

}  // namespace linimo::fleet
