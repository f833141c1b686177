#include "bench/fleet/fleet.h"

#include <algorithm>
#include <map>
#include <utility>

namespace linimo::fleet {

using Kind = Change::Kind;

Fleet::Fleet(const Settings& settings, const Scenario& scenario)
    : settings_(settings),
      scenario_(scenario),
      truth_(settings.backends),
      pool_(settings),
      ecmp_(settings.nodes, scenario.ecmp),
      random_(settings.seed ^ 0x666c656574),
      misses_(settings.seed ^ 0x776f726473),
      common_(std::make_shared<ControlPlane>(settings)),
      members_(settings.nodes) {
  // What the timetable has for the very beginning is how the backends are.
  while (next_change_ < scenario.changes.size() && scenario.changes[next_change_].at_ms == 0)
    apply(scenario.changes[next_change_++], 0);
  spec_ = pool_.spec();
  const Snapshot first = common_->snapshot(spec_, 0);
  for (Member& member : members_) {
    member.control_plane = common_;
    member.node = std::make_unique<Node>(settings);
    member.node->publish(*first, 0);
  }
}

void Fleet::advance(uint32_t now_ms) {
  bool tables_change = false;
  for (; next_change_ < scenario_.changes.size() && scenario_.changes[next_change_].at_ms <= now_ms;
       ++next_change_)
    tables_change |= apply(scenario_.changes[next_change_], now_ms);
  if (tables_change) publish(now_ms);
  for (Member& member : members_) {
    for (; !member.on_their_way.empty() && member.on_their_way.front().at_ms <= now_ms;
         member.on_their_way.pop_front())
      member.node->publish(*member.on_their_way.front().snapshot, now_ms / 1000);
  }
  carry_words(now_ms);
}

/// What was said within the last step goes to all others, each of whom may miss it.
void Fleet::carry_words(uint32_t now_ms) {
  for (const Member& member : members_) {
    if (member.node == nullptr) continue;
    for (const Word& word : member.node->take_words()) {
      said_.push_back({now_ms + settings_.telling_ms, member.node.get(), word});
      ++telling_.words;
      ++words_this_second_;
      if (word.ended) ++telling_.ends;
    }
  }
  for (; !said_.empty() && said_.front().at_ms <= now_ms; said_.pop_front()) {
    for (const Member& member : members_) {
      if (member.node == nullptr || member.node.get() == said_.front().by) continue;
      if (misses_.below(1000) >= settings_.telling_lost) member.node->hear(said_.front().word, now_ms / 1000);
    }
  }
}

/// Whether the nodes' tables are to be made anew.
bool Fleet::apply(const Change& change, uint32_t now_ms) {
  const uint32_t subject = change.subject;
  switch (change.kind) {
    case Kind::kDies:
      truth_[subject] = {.lives = false, .died_ms = now_ms};
      return false;
    case Kind::kRevives:
      truth_[subject].lives = true;
      return false;
    case Kind::kState:
      pool_.set_state(subject, static_cast<linimo_backend_state>(change.value));
      return true;
    case Kind::kWeight:
      pool_.set_weight(subject, change.value);
      return true;
    case Kind::kNodeLost: {
      Member& member = members_[subject];
      for (const Mode mode : kWithTables) counts_of_lost_[mode] += member.node->counts(mode);
      member.node = nullptr;
      member.on_their_way.clear();
      ecmp_.lose(subject);
      return false;
    }
    case Kind::kNodeBack:
      members_[subject].control_plane = common_;
      bring_back(members_[subject], now_ms);
      ecmp_.gain(subject);
      return false;
    case Kind::kNodeBackBlank:
      members_[subject].control_plane = std::make_shared<ControlPlane>(settings_);
      bring_back(members_[subject], now_ms);
      ecmp_.gain(subject);
      return false;
  }
  return false;
}

/// It announces itself once it forwards.
void Fleet::bring_back(Member& member, uint32_t now_ms) {
  member.node = std::make_unique<Node>(settings_);
  member.node->publish(*member.control_plane->snapshot(spec_, now_ms), now_ms / 1000);
}

void Fleet::publish(uint32_t now_ms) {
  ++generations_;
  spec_ = pool_.spec();
  std::map<const ControlPlane*, Snapshot> snapshots;
  snapshots[common_.get()] = common_->snapshot(spec_, now_ms);
  for (Member& member : members_) {
    if (member.node == nullptr) continue;
    Snapshot& snapshot = snapshots[member.control_plane.get()];
    if (snapshot == nullptr) snapshot = member.control_plane->snapshot(spec_, now_ms);
    // Snapshots of one node do not overtake each other.
    const uint32_t earliest = member.on_their_way.empty() ? 0 : member.on_their_way.back().at_ms;
    const uint32_t at_ms = std::max(earliest, now_ms + random_.below(settings_.skew_ms + 1));
    member.on_their_way.push_back({at_ms, snapshot});
  }
}

void Fleet::keep_house(uint32_t now_s) {
  for (Member& member : members_) {
    if (member.node == nullptr) continue;
    member.node->keep_house(now_s);
    telling_.most_entries = std::max(telling_.most_entries, member.node->told_flows());
    if (now_s < settings_.warm_up_s()) continue;
    telling_.entries += static_cast<double>(member.node->told_flows());
    ++samples_;
  }
  telling_.most_a_second = std::max(telling_.most_a_second, std::exchange(words_this_second_, 0));
}

uint64_t Fleet::entries(Mode mode) const {
  uint64_t entries = 0;
  for (const Member& member : members_) entries += member.node == nullptr ? 0 : member.node->entries(mode);
  return entries;
}

double Fleet::unsettled() const {
  uint64_t slots = 0;
  for (const Member& member : members_) slots += member.node == nullptr ? 0 : member.node->unsettled();
  return static_cast<double>(slots) / static_cast<double>(ecmp_.live().size()) / settings_.table_size;
}

Node::Counts Fleet::counts(Mode mode) const {
  Node::Counts counts = counts_of_lost_[mode];
  for (const Member& member : members_) {
    if (member.node != nullptr) counts += member.node->counts(mode);
  }
  return counts;
}

Telling Fleet::telling() const {
  Telling telling = telling_;
  telling.untold = counts(kShared).untold;
  telling.entries /= static_cast<double>(std::max(samples_, uint64_t{1}));
  return telling;
}

}  // namespace linimo::fleet
