#include "controlplane/fleet/trust.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "controlplane/fleet/session.h"

namespace linimo::fleet {
namespace {

/// Why the store's content is older than what was seen, first of all in what operators know; empty: it is
/// not.
std::string regress(const View& view, const Floors& floors) {
  if (view.epoch_number() < floors.epoch)
    return fmt::format("its epoch is {}, and was {}", view.epoch_number(), floors.epoch);
  if (view.active_number() < floors.revision)
    return fmt::format("revision {} is active, and {} was", view.active_number(), floors.revision);
  if (view.revision < floors.store)
    return fmt::format("it is at store revision {}, and was at {}", view.revision, floors.store);
  if (view.active && view.active->number == floors.revision && view.active->digest != floors.documents)
    return fmt::format("revision {} has other documents than it had", floors.revision);
  if (view.leader && view.leader.created < floors.leader)
    return fmt::format("its leader was elected at store revision {}, and one at {}", view.leader.created,
                       floors.leader);
  const uint64_t state = view.state ? view.state->number : 0;
  if (state < floors.state) return fmt::format("its state is {}, and was {}", state, floors.state);
  if (view.state && view.state->fence < floors.state_fence)
    return "its state is by an earlier leader than it was";
  return {};
}

/// Why something was written by a leader after another had been elected.
std::string unfenced(const View& view, const Floors& floors) {
  const int64_t leader = view.leader ? std::max(floors.leader, view.leader.created) : floors.leader;
  const auto late = [&](const auto& held) {
    return held && held.changed > leader && held->fence.epoch == floors.epoch && held->fence.leader < leader;
  };
  if (late(view.state))
    return fmt::format("state {} is by a leader that had been succeeded", view.state->number);
  if (late(view.active))
    return fmt::format("revision {} was activated by a leader that had been succeeded", view.active->number);
  return {};
}

void raise(Floors& floors, const View& view) {
  floors.store = view.revision;
  if (view.leader) floors.leader = view.leader.created;
  if (view.active) {
    floors.revision = view.active->number;
    floors.documents = view.active->digest;
  }
  if (view.state) {
    floors.state = view.state->number;
    floors.state_fence = view.state->fence;
  }
}

}  // namespace

uint64_t newest_epoch(const View& view) {
  return std::max({view.epoch_number(), view.state ? view.state->fence.epoch : 0,
                   view.active ? view.active->fence.epoch : 0});
}

void judge_store(State& s, Actions& out) {
  if (!s.session.once_read) return;
  Floors& floors = s.memory.floors;
  if (newest_epoch(s.view) > s.session.read_epoch) {
    // It came by the watch, and what stands beside it here may be from before the store was restored.
    s.trusts = false;
    return read_anew(s);
  }
  if (s.view.epoch_number() > floors.epoch) {
    floors = Floors{};
    floors.epoch = s.view.epoch_number();
    out.push_back(Say{fmt::format("the store's epoch is {}: what it holds is followed", floors.epoch)});
    out.push_back(Remember{});
  }
  std::string why = regress(s.view, floors);
  if (why.empty()) why = unfenced(s.view, floors);
  s.trusts = why.empty();
  if (s.trusts) {
    s.mistrusts_since.reset();
    raise(floors, s.view);
  } else if (!s.mistrusts_since) {
    s.mistrusts_since = s.now;
  }
  const bool long_since = s.mistrusts_since && s.now >= *s.mistrusts_since + s.settings.lease;
  if (s.mistrusts_since && !long_since) wake_at(s, *s.mistrusts_since + s.settings.lease);
  alarm_while(s, out, AlarmKind::kStoreWentBack, long_since, [&] {
    return fmt::format(
        "the store went back ({}): was it emptied or restored? Nothing in it is followed, tables stay. If it "
        "is to "
        "count as it is, raise its epoch",
        why);
  });
  alarm_while(s, out, AlarmKind::kStoreUnreadable, !s.view.unreadable.empty(), [&] {
    return fmt::format("cannot be read, and is not followed: {}", fmt::join(s.view.unreadable, ", "));
  });
}

bool holds_lead(const State& s) {
  return s.view.leader && s.view.leader->node == s.settings.node &&
         s.view.leader->instance == s.settings.instance && s.view.leader.lease == s.session.lease &&
         in_reach(s);
}

}  // namespace linimo::fleet
