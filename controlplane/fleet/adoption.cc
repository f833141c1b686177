#include "controlplane/fleet/adoption.h"

#include <fmt/format.h>

#include "controlplane/fleet/activation.h"

namespace linimo::fleet {

void take_live(State& s, const TableLive& live) {
  Own& own = s.own;
  own.live_known = true;
  own.live = live.id;
  own.live_digest = live.digest;
  if (own.publishing && own.publishing->id == live.id) {
    own.live_summary = own.publishing->summary;
  } else if (s.memory.table.revision == live.id.revision && s.memory.table.documents == live.id.documents) {
    own.live_summary = s.memory.table.summary;
  } else {
    own.live_summary = nullptr;
  }
  own.publishing.reset();
}

void take_refused(State& s, const TableRefused& refused, Actions& out) {
  if (!s.own.publishing || s.own.publishing->id != refused.id) return;
  s.own.publishing.reset();
  s.own.publish_due = s.now + s.settings.patience;
  alarm_while(s, out, AlarmKind::kTableRefused, true, [&] { return refused.why; });
}

void adopt(State& s, Actions& out) {
  Table& table = s.memory.table;
  if (s.trusts) {
    const TableId before = table.id();
    if (s.view.active) {
      const Validation* active = find_validation(s, s.view.active->number, s.view.active->digest);
      if (active != nullptr && active->known && active->refusal.empty()) {
        table.revision = active->number;
        table.documents = active->digest;
        table.summary = active->summary;
      }
    }
    // A state names the backends of the revision in force alone: with an earlier one its pools would be
    // empty.
    const bool in_force = !s.view.active || (table.revision == s.view.active->number &&
                                             table.documents == s.view.active->digest);
    if (s.view.state && (in_force || table.state == nullptr)) table.state = s.view.state.record;
    if (table.id() != before) out.push_back(Remember{});
  }

  Own& own = s.own;
  if (!table.complete() || !own.live_known) return;
  if (own.publishing && s.now >= own.published_at + s.settings.lease)
    own.publishing.reset();  // nobody answered
  if (own.live == table.id()) alarm_while(s, out, AlarmKind::kTableRefused, false, [] { return ""; });
  if (own.publishing) return wake_at(s, own.published_at + s.settings.lease);
  if (own.live == table.id()) return;
  if (s.now < own.publish_due) return wake_at(s, own.publish_due);
  own.published_at = s.now;
  own.publishing = Publish{table.id(), table.summary, table.state};
  wake_at(s, s.now + s.settings.lease);
  out.push_back(*own.publishing);
}

}  // namespace linimo::fleet
