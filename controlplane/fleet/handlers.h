// Which nodes handle fragments: those that announce something, as the store says. Nodes hear of a change one
// after the other, and a datagram's fragments may come to two that differ, so it is made in steps, with time
// for all to hear of it. At first nothing happens: what is over within a second was a process that started
// anew, or a store that came back. Then whoever handles a first fragment tells all others of its datagram;
// later the table changes; later yet the telling ends. Whoever still goes by the old table is never beside
// one that does not tell. What nodes pass on that have gone is taken: one whose lease has ended may only have
// lost its way to the store.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_handlers(State& s, const HandlersLive& live);
void move_tunnel(State& s, const TunnelMoved& moved);
void agree_on_handlers(State& s, Actions& out);

}  // namespace linimo::fleet
