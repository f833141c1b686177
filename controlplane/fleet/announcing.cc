#include "controlplane/fleet/announcing.h"

#include <algorithm>
#include <utility>

#include "controlplane/fleet/last_announcer.h"
#include "controlplane/fleet/stand_in.h"

namespace linimo::fleet {

void announce(State& s, Actions& out) {
  // Until it is known what the data plane forwards, what an earlier process announced stays.
  const bool forwards = s.own.serves && s.own.live.revision != 0;
  if (!s.own.live_known || (forwards && !s.own.live_summary)) return;
  Announce wanted;
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
  node.announces = wanted.draining ? std::vector<std::string>() : wanted.vips;
  if (node != *s.own.node) s.own.node = std::make_shared<const NodeRecord>(std::move(node));
  out.push_back(std::move(wanted));
}

}  // namespace linimo::fleet
