#include "controlplane/fleet/session.h"

#include <algorithm>
#include <utility>

#include "controlplane/fleet/trust.h"

namespace linimo::fleet {
namespace {

Time::duration third(const State& s) {
  return s.settings.lease / 3;
}

void read_again(State& s, Time due) {
  if (s.session.watch != 0) s.session.watch_lost = s.now;
  s.session.watch = 0;
  s.session.read_request = 0;
  s.session.read_due = due;
}

void change_endpoint(State& s, Actions& out) {
  out.push_back(ChangeEndpoint{});
  read_again(s, s.now);
}

void keep_lease(State& s, Actions& out) {
  Session& session = s.session;
  if (session.lease_request != 0 && s.now >= session.lease_sent + third(s)) {
    session.lease_request = 0;
    session.lease_due = s.now;
    change_endpoint(s, out);
  }
  if (session.lease_request == 0 && s.now >= session.lease_due) {
    session.lease_request = session.next_request++;
    session.lease_sent = s.now;
    if (session.lease != 0) {
      out.push_back(KeepLease{session.lease_request, session.lease});
    } else {
      out.push_back(GrantLease{session.lease_request});
    }
  }
  wake_at(s, session.lease_request != 0 ? session.lease_sent + third(s) : session.lease_due);
}

void keep_picture(State& s, Actions& out) {
  Session& session = s.session;
  if (session.read_request != 0 && s.now >= session.read_sent + third(s)) change_endpoint(s, out);
  if (session.read_request == 0 && s.now >= session.read_due) {
    session.read_request = session.next_request++;
    session.read_sent = s.now;
    out.push_back(Read{session.read_request});
  }
  wake_at(s, session.read_request != 0 ? session.read_sent + third(s) : session.read_due);
}

/// A transaction of which nothing was heard may have been done all the same: its comparisons refuse a second
/// one.
void give_up(State& s, Writing& writing, Actions& out) {
  if (writing.request != 0) {
    if (s.now < writing.sent + third(s)) return wake_at(s, writing.sent + third(s));
    writing.request = 0;
    writing.retry_at = s.now + s.settings.retry;
  }
  if (writing.await > s.view.revision) {  // the watch has lost what was certainly written
    if (s.now < writing.done_at + third(s)) return wake_at(s, writing.done_at + third(s));
    writing.await = 0;
    change_endpoint(s, out);
  }
  if (s.now < writing.retry_at) wake_at(s, writing.retry_at);
}

/// When an operator is told: before the lease is over, but after two members had time to keep it; and where
/// the picture is gone and cannot be had again, as from a member that still keeps leases and has no quorum.
Time out_of_reach_from(const State& s) {
  const Session& session = s.session;
  const Time lease_alone = session.lease_until - third(s) / 2;
  if (session.watch != 0) return lease_alone;
  return std::min(lease_alone, session.watch_lost + s.settings.lease / 2);
}

}  // namespace

void read_anew(State& s) {
  if (s.session.read_request == 0 && s.session.read_due > s.now) read_again(s, s.now);
  wake_at(s, s.now);
}

void take_read(State& s, const ReadDone& read, Actions& out) {
  Session& session = s.session;
  if (read.request == 0 || read.request != session.read_request) return;
  session.read_request = 0;
  if (read.failed) {
    change_endpoint(s, out);
    session.read_due = s.now + s.settings.retry;
    return;
  }
  session.read_due = s.now + s.settings.refresh;
  session.read_done = s.now;
  const View before = std::move(s.view);
  s.view = view_of(read.entries, read.revision);
  s.view.version = before.version + 1;
  s.view.of_nodes = before.of_nodes + 1;
  session.once_read = true;
  session.read_epoch = newest_epoch(s.view);
  session.watch = session.next_request++;
  out.push_back(Watch{session.watch, s.view.revision + 1});
  // What this does not show was not done, or comes with the watch; comparisons refuse to do it twice.
  for (Writing* writing : {&session.own, &session.leading})
    writing->await = std::min(writing->await, s.view.revision);
}

void take_changes(State& s, const Changed& changed) {
  if (changed.watch == 0 || changed.watch != s.session.watch) return;
  for (const Entry& entry : changed.entries) s.view.take(entry);
  s.view.complete_to(changed.revision);
}

void take_end(State& s, const WatchEnded& end) {
  if (end.watch != 0 && end.watch == s.session.watch)
    read_again(s, std::max(s.now, s.session.read_done + s.settings.retry));
}

void take_lease(State& s, const LeaseAnswer& answer) {
  Session& session = s.session;
  if (answer.request == 0 || answer.request != session.lease_request) return;
  session.lease_request = 0;
  if (answer.time_to_live.count() <= 0) {
    session.lease_due = session.lease != 0 ? s.now : s.now + s.settings.retry;
    session.lease = 0;
    return;
  }
  session.lease = answer.lease;
  session.lease_until = session.lease_sent + answer.time_to_live;
  session.lease_due = std::max(s.now, session.lease_sent + third(s));
}

void take_outcome(State& s, const TransactDone& done) {
  for (Writing* writing : {&s.session.own, &s.session.leading}) {
    if (done.request == 0 || done.request != writing->request) continue;
    writing->request = 0;
    if (done.outcome == Outcome::kDone) {
      writing->await = done.revision;
      writing->done_at = s.now;
    } else {
      writing->retry_at = s.now + s.settings.retry;
    }
    s.leading.version = 0;  // to be thought about again
  }
}

void keep_session(State& s, Actions& out) {
  keep_lease(s, out);
  give_up(s, s.session.own, out);
  give_up(s, s.session.leading, out);
  keep_picture(s, out);
  const Time due = out_of_reach_from(s);
  alarm_while(s, out, AlarmKind::kStoreOutOfReach, s.now >= due,
              [] { return "the store gives no answer; revision and state stay"; });
  for (const Time time : {due, s.session.lease_until})
    if (s.now < time) wake_at(s, time);
}

bool idle(const State& s, const Writing& writing) {
  return writing.request == 0 && writing.await <= s.view.revision && s.now >= writing.retry_at;
}

void send(State& s, Actions& out, Writing& writing, Transact transaction) {
  writing.request = transaction.request = s.session.next_request++;
  writing.sent = s.now;
  wake_at(s, s.now + third(s));
  out.push_back(std::move(transaction));
}

}  // namespace linimo::fleet
