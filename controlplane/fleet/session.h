// Getting on with the store: a lease that is kept, a picture that is complete, and members that are left when
// they are slow.
//
// Lease and watch are kept at the same member: one that is frozen is noticed by its keep-alives alone, which
// are late by a third of the lease when another member is tried. After any break everything is read anew; to
// go on where a watch ended would mean to wait for ever at a store that was restored. Now and then it is read
// anew all the same: a watch that begins while a store is being restored may miss what nothing tells of.
#pragma once

#include "controlplane/fleet/state.h"

namespace linimo::fleet {

void take_read(State& s, const ReadDone& read, Actions& out);
void take_changes(State& s, const Changed& changed);
void take_end(State& s, const WatchEnded& end);
void take_lease(State& s, const LeaseAnswer& answer);
void take_outcome(State& s, const TransactDone& done);

/// Reads all of it once more, as soon as may be.
void read_anew(State& s);

/// Asks for what is missing or overdue.
void keep_session(State& s, Actions& out);

/// Whether such a transaction may be sent: none is on its way, and what the last one did can be seen.
bool idle(const State& s, const Writing& writing);
void send(State& s, Actions& out, Writing& writing, Transact transaction);

}  // namespace linimo::fleet
