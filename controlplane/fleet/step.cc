#include "controlplane/fleet/step.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "controlplane/fleet/activation.h"
#include "controlplane/fleet/adoption.h"
#include "controlplane/fleet/announcing.h"
#include "controlplane/fleet/handlers.h"
#include "controlplane/fleet/heartbeats.h"
#include "controlplane/fleet/leadership.h"
#include "controlplane/fleet/membership.h"
#include "controlplane/fleet/observations.h"
#include "controlplane/fleet/session.h"
#include "controlplane/fleet/trust.h"

namespace linimo::fleet {
namespace {

struct Taking {
  State& s;
  Actions& out;

  void operator()(const Tick&) const {}
  void operator()(const ReadDone& event) const { take_read(s, event, out); }
  void operator()(const Changed& event) const { take_changes(s, event); }
  void operator()(const WatchEnded& event) const { take_end(s, event); }
  void operator()(const TransactDone& event) const { take_outcome(s, event); }
  void operator()(const LeaseAnswer& event) const { take_lease(s, event); }
  void operator()(const Validated& event) const { take_validated(s, event); }
  void operator()(const TableLive& event) const { take_live(s, event); }
  void operator()(const TunnelMoved& event) const { move_tunnel(s, event); }
  void operator()(const Described& event) const { describe(s, event); }
  void operator()(const HandlersLive& event) const { take_handlers(s, event); }
  void operator()(const TableRefused& event) const { take_refused(s, event, out); }
  void operator()(const Observed& event) const { take_observed(s, event); }
  void operator()(const Serving& event) const { s.own.serves = event.serves; }
  void operator()(const Heartbeat& event) const { take_heartbeat(s, event, out); }
};

}  // namespace

State start(Settings settings, Memory memory, Time now) {
  State s;
  NodeRecord node;
  node.instance = settings.instance;
  node.about = settings.about;
  node.tunnel = settings.tunnel;
  s.settings = std::move(settings);
  s.memory = std::move(memory);
  s.now = now;
  s.own.node = std::make_shared<const NodeRecord>(std::move(node));
  s.own.observations = std::make_shared<const ObservationsRecord>();
  s.session.lease_until = now + s.settings.lease;
  s.session.watch_lost = now;
  s.wake = now;
  return s;
}

Actions step(State& state, const Event& event, Time now) {
  Actions out;
  state.now = std::max(state.now, now);
  state.wake.reset();
  std::visit(Taking{state, out}, event);
  // What follows from what is known, in an order in which each finds what it needs.
  keep_session(state, out);
  judge_store(state, out);
  validate(state, out);
  adopt(state, out);
  assign_checks(state, out);
  observe(state, out);
  announce(state, out);
  agree_on_handlers(state, out);
  write_own(state, out);
  lead(state, out);
  beat(state, out);
  return out;
}

Time next_wake(const State& state) {
  return state.wake.value_or(state.now + state.settings.lease);
}

}  // namespace linimo::fleet
