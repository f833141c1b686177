#include "controlplane/fleet/announcing.h"

#include <algorithm>
#include <utility>

#include "controlplane/fleet/last_announcer.h"
#include "controlplane/fleet/stand_in.h"

namespace linimo::fleet {
namespace {

bool forwards_as_stored(const State& s) {
  return in_reach(s) && s.trusts && s.view.active && s.view.state &&
         s.own.live ==
             TableId{s.view.active->number, s.view.active->digest, s.view.state->number, s.view.state->fence};
}

bool goes_by_memory(const State& s) {
  constexpr AlarmKind kTelling[] = {AlarmKind::kStoreOutOfReach, AlarmKind::kStoreWentBack,
                                    AlarmKind::kStoreUnreadable, AlarmKind::kRevisionNotHeld,
                                    AlarmKind::kTableRefused};
  return std::ranges::any_of(kTelling, [&](AlarmKind kind) { return s.alarms[static_cast<size_t>(kind)]; });
}

}  // namespace

void announce(State& s, Actions& out) {
  // Until it is known what the data plane forwards, what an earlier process announced stays.
  const bool forwards = s.own.serves && s.own.live.revision != 0;
  if (!s.own.live_known || (forwards && !s.own.live_summary)) return;
  s.own.caught_up = s.own.caught_up || forwards_as_stored(s) || goes_by_memory(s);
  Announce wanted;
  wanted.caught_up = s.own.caught_up;
  wanted.draining = s.view.drained_nodes.contains(s.settings.node);
  if (forwards) {
    const auto* excused = s.view.state ? &s.view.state->excused : nullptr;
    const bool is_excused = excused != nullptr && s.trusts && in_reach(s) &&
                            std::binary_search(excused->begin(), excused->end(), s.settings.node);
    const bool is_astray = !in_reach(s) && !s.own.observations->complaint.empty();
    const auto others_do = [&](const std::string& vip) {
      if (is_excused) return others_announce(s.view, *excused, s.settings.node, vip);
      return is_astray && is_stood_in_for(s, vip);
    };
    for (const std::string& vip : s.own.live_summary->vips) {
      if (!others_do(vip)) wanted.vips.push_back(vip);
    }
  }
  if (s.own.announced == wanted) return;
  s.own.announced = wanted;
  NodeRecord node = *s.own.node;
  node.announces = wanted.draining || !wanted.caught_up ? std::vector<std::string>() : wanted.vips;
  if (node != *s.own.node) s.own.node = std::make_shared<const NodeRecord>(std::move(node));
  out.push_back(std::move(wanted));
}

}  // namespace linimo::fleet
