// Which nodes handle fragments: those that announce something, as the store says. Nodes hear of a change one
// after the other, and a datagram's fragments may come to two that differ, so it is made in two steps, with
// time for all to hear of each: first it is known, and whoever handles a first fragment tells all others of
// its datagram; then the table changes; later the telling ends. Whoever still goes by the old table is never
// beside one that has ceased to tell. The dead are left at once; what they
// pass on is taken, for a node whose lease has ended may only have lost its way to the store.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_handlers(State& s, const HandlersLive& live);
void move_tunnel(State& s, const TunnelMoved& moved);
void agree_on_handlers(State& s, Actions& out);

}  // namespace linimo::fleet
