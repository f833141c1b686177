#include "controlplane/fleet/leadership.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>

#include "controlplane/fleet/activation.h"
#include "controlplane/fleet/excuses.h"
#include "controlplane/fleet/fence.h"
#include "controlplane/fleet/history.h"
#include "controlplane/fleet/membership.h"
#include "controlplane/fleet/observations.h"
#include "controlplane/fleet/session.h"
#include "controlplane/fleet/trust.h"

namespace linimo::fleet {
namespace {

bool fit_to_lead(const State& s) {
  return s.trusts && is_member(s) &&
         (!s.view.active || (s.memory.table.revision == s.view.active->number &&
                             s.memory.table.documents == s.view.active->digest));
}

void campaign(State& s, Actions& out) {
  Transact transaction;
  const Key key{KeyKind::kLeader};
  transaction.compares.push_back({key, Compare::What::kCreated, 0});
  transaction.puts.push_back(
      {key, std::make_shared<const Value>(LeaderRecord{s.settings.node, s.settings.instance}),
       s.session.lease});
  send(s, out, s.session.leading, std::move(transaction));
}

void resign(State& s, Actions& out) {
  Transact transaction;
  transaction.compares = fence_of(s.view);
  transaction.erases.push_back(Key{KeyKind::kLeader});
  send(s, out, s.session.leading, std::move(transaction));
  out.push_back(Say{"this node leads and cannot: it makes room"});
}

std::chrono::milliseconds since(const State& s, Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(s.now - time);
}

/// Of the revision in force.
std::chrono::milliseconds window(const State& s) {
  const auto& summary = s.memory.table.summary;
  return summary != nullptr ? summary->window : std::chrono::milliseconds(0);
}

Time history_due(const State& s) {
  return s.leading.state_seen + window(s) / 16;
}

/// A node that joins cannot know how long ago a state was written.
bool history_ages(const State& s) {
  return s.view.state && !s.view.state->history.empty() && s.now >= history_due(s);
}

/// The state that should follow the present one, of the same revision; nothing: it may stay.
std::shared_ptr<StateRecord> next_state(const State& s, bool activates) {
  static const StateRecord kNone{{}, 0, std::make_shared<const BackendStates>(), {}, {}};
  const StateRecord& before = s.view.state ? *s.view.state : kNone;
  BackendStates backends = merged(s);
  std::vector<std::string> excused = excuses(s.view, before.excused);
  const bool other_table = activates || backends != *before.backends;
  const bool same = !other_table && excused == before.excused && before.fence.epoch == s.memory.floors.epoch;
  if (same && !history_ages(s)) return nullptr;

  auto next = std::make_shared<StateRecord>();
  next->fence = {s.memory.floors.epoch, s.view.leader.created};
  // The same: the same tables, and what was before is older. Never one that it has given to another: a store
  // that is restored while the view lags may hold what was there before that.
  next->number = same ? before.number : std::max(before.number, s.leading.sent) + 1;
  next->backends = other_table ? std::make_shared<const BackendStates>(std::move(backends)) : before.backends;
  next->excused = std::move(excused);
  // Steps of slow starts would drive what else was before out of it.
  const bool ends_table =
      activates || (other_table && !same_but_for_eighths(*next->backends, *before.backends));
  next->history = history_after(before, ends_table ? s.view.active_number() : 0,
                                since(s, s.leading.state_seen), window(s));
  return next;
}

/// Of slow starts, and nothing that must not wait.
bool is_a_step_alone(const State& s, const StateRecord& next) {
  return s.view.state && next.number != s.view.state->number && next.excused == s.view.state->excused &&
         next.fence.epoch == s.view.state->fence.epoch && next.backends != s.view.state->backends &&
         same_but_for_eighths(*next.backends, *s.view.state->backends);
}

void write(State& s, Actions& out) {
  const bool activates = may_activate(s);
  auto next = next_state(s, activates);
  const bool old_epoch = s.view.active && s.view.active->fence.epoch != s.memory.floors.epoch;
  if (!next && !activates && !old_epoch) return;
  if (next && !activates && !old_epoch && is_a_step_alone(s, *next)) {
    const Time due = s.leading.state_seen + kGatherSteps;
    if (s.now < due) {
      s.leading.version = 0;  // to be looked at once more
      return wake_at(s, due);
    }
  }

  Transact transaction;
  transaction.compares = fence_of(s.view);
  transaction.compares.push_back({Key{KeyKind::kState}, Compare::What::kChanged, s.view.state.changed});
  transaction.compares.push_back({Key{KeyKind::kActive}, Compare::What::kChanged, s.view.active.changed});
  const Fence fence{s.memory.floors.epoch, s.view.leader.created};
  if (next) {
    s.leading.sent = std::max(s.leading.sent, next->number);
    transaction.puts.push_back({Key{KeyKind::kState}, std::make_shared<const Value>(std::move(*next)), 0});
  }
  if (activates || old_epoch) {
    const ActiveRecord active{fence, activates ? s.view.newest->number : s.view.active->number,
                              activates ? s.view.newest->digest : s.view.active->digest};
    transaction.puts.push_back({Key{KeyKind::kActive}, std::make_shared<const Value>(active), 0});
  }
  if (activates) {
    // Nobody has come whose vote was not seen, and nobody has changed a vote or the wish.
    transaction.compares.push_back({Key{KeyKind::kNode}, Compare::What::kNoneChanged, s.view.revision});
    transaction.compares.push_back(
        {Key{KeyKind::kReady, s.view.newest->number}, Compare::What::kNoneChanged, s.view.revision});
    transaction.compares.push_back({Key{KeyKind::kRevision}, Compare::What::kChanged, s.view.newest.changed});
    const uint64_t number = s.view.newest->number;
    if (number > s.settings.kept_revisions) transaction.forget_below = number - s.settings.kept_revisions;
    out.push_back(Say{fmt::format("every living node is ready for revision {}: activating it", number)});
  }
  send(s, out, s.session.leading, std::move(transaction));
}

}  // namespace

void lead(State& s, Actions& out) {
  Leading& leading = s.leading;
  if (leading.state_changed != s.view.state.changed) {
    leading.state_changed = s.view.state.changed;
    leading.state_seen = s.now;
  }
  const bool holds = holds_lead(s);
  const bool fit = fit_to_lead(s);
  if (!holds || fit) leading.unfit_since.reset();
  if (!holds) leading.ready_since.reset();
  if (!idle(s, s.session.leading)) return;
  if (!holds) {
    if (fit && s.view.leader.changed == 0) campaign(s, out);
    return;
  }
  if (!fit) {
    if (!leading.unfit_since) leading.unfit_since = s.now;
    const Time due = *leading.unfit_since + s.settings.lease;
    if (s.now >= due) return resign(s, out);
    return wake_at(s, due);
  }
  if (leading.ready_since) leading.version = 0;  // an activation waits for time as well
  if (history_ages(s))
    leading.version = 0;
  else if (s.view.state && !s.view.state->history.empty())
    wake_at(s, history_due(s));
  if (leading.version == s.view.version) return;
  leading.version = s.view.version;
  write(s, out);
}

}  // namespace linimo::fleet
