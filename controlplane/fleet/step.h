// Many nodes that act as one: what each of them decides, as one pure function. No sockets, no clock, no
// threads, nothing random and nothing global: the same events make the same decisions, so a simulator can
// show thousands of fleets what happens to few (tests/fleet).
//
//   State state = start(settings, memory, now);          // memory: of the latest Remember, or nothing
//   for (const Action& action : step(state, event, now)) carry_out(action);
//   send Tick{} at next_wake(state)
//
// | question                        | who answers                                    | in            |
// | which revision is in force      | the leader, once every living node is ready    | activation.h  |
// | is a backend up                 | the leader, by the majority of its checkers    | observations.h|
// | which nodes live                | leases in the store                            | membership.h  |
// | who leads                       | the store: one creates the key                 | leadership.h  |
// | does this node announce         | the node, for reasons of its own               | announcing.h  |
// | may the store be followed       | the node, by what it has seen of it            | trust.h       |
//
// What is out of reach changes nothing: the last revision and state stay in force.
#pragma once

#include <optional>

#include "controlplane/fleet/actions.h"
#include "controlplane/fleet/events.h"
#include "controlplane/fleet/state.h"

namespace linimo::fleet {

State start(Settings settings, Memory memory, Time now);

/// `now` is of a clock that never goes back; where it does, time stands still until it has caught up.
Actions step(State& state, const Event& event, Time now);

/// When to send a Tick, at the latest.
Time next_wake(const State& state);

}  // namespace linimo::fleet
