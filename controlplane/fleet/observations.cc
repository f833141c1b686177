#include "controlplane/fleet/observations.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "controlplane/fleet/activation.h"
#include "controlplane/fleet/majority.h"

namespace linimo::fleet {
namespace {

Opinion opinion(const ObservationsRecord& record, const std::string& backend) {
  const auto found =
      std::lower_bound(record.backends.begin(), record.backends.end(), backend,
                       [](const auto& one, const std::string& name) { return one.first < name; });
  return found != record.backends.end() && found->first == backend ? found->second : Opinion();
}

HealthState majority(size_t up, size_t down, size_t may_speak, HealthState before) {
  if (is_majority(up, may_speak)) return HealthState::kUp;
  if (is_majority(down, may_speak)) return HealthState::kDown;
  return before;
}

/// What a majority grants: one that starts slowly, or is held back, has as much of its weight as most of
/// those that may speak give it. Where they say too little it keeps what it has.
uint32_t eighths(std::vector<uint32_t>& granted, size_t may_speak, uint32_t before) {
  std::ranges::sort(granted, std::greater<>());
  for (size_t i = 0; i < granted.size(); ++i) {
    if (is_majority(i + 1, may_speak)) return granted[i];
  }
  return before;
}

bool asks(size_t leaves, size_t stays, size_t may_speak, bool before) {
  return is_majority(leaves, may_speak) || (before && !is_majority(stays, may_speak));
}

/// Too many of the backends that it checks are otherwise than the fleet holds.
bool contradicts(const State& s) {
  if (!s.memory.table.state) return false;
  size_t contrary = 0;
  for (const BackendState& held : *s.memory.table.state->backends) {
    if (held.health == HealthState::kUnknown) continue;
    const auto found = s.own.opinions.find(held.name);
    contrary += found != s.own.opinions.end() && found->second.health != HealthState::kUnknown &&
                found->second.health != held.health;
  }
  return contrary * 100 > size_t{s.settings.contradiction_pct} * s.own.checked.size();
}

/// Doubt must last before it counts, and so must its end.
bool is_lost(State& s) {
  const bool was_lost = !s.own.observations->complaint.empty();
  // Cut off from the store, it does not know what the others see by now: whether that matters, stand_in.h
  // says.
  const bool doubts = s.trusts && contradicts(s);
  std::optional<Time>& since = was_lost ? s.own.agrees_since : s.own.doubts_since;
  (was_lost ? s.own.doubts_since : s.own.agrees_since).reset();
  if (doubts == was_lost) {
    since.reset();
    return was_lost;
  }
  if (!since) since = s.now;
  const Time due = *since + s.settings.patience;
  if (s.now >= due) return !was_lost;
  wake_at(s, due);
  return was_lost;
}

}  // namespace

void take_observed(State& s, const Observed& observed) {
  if (std::binary_search(s.own.checked.begin(), s.own.checked.end(), observed.backend))
    s.own.opinions[observed.backend] = observed.opinion;
}

void assign_checks(State& s, Actions& out) {
  const Validation* vote = vote_of(s);
  const std::shared_ptr<const Summary>& in_use = s.memory.table.summary;
  const std::shared_ptr<const Summary> waiting =
      vote != nullptr && vote->refusal.empty() ? vote->summary : std::shared_ptr<const Summary>();
  Assignment& current = s.assignment;
  if (current.of_nodes == s.view.of_nodes && current.in_use == in_use && current.waiting == waiting) return;

  std::vector<std::string> nodes;
  for (const auto& [name, node] : s.view.nodes) nodes.push_back(name);
  std::vector<std::string> backends;
  if (in_use) backends = in_use->backends;
  if (waiting) {
    std::vector<std::string> both;
    std::set_union(backends.begin(), backends.end(), waiting->backends.begin(), waiting->backends.end(),
                   std::back_inserter(both));
    backends = std::move(both);
  }
  current = assign(std::move(nodes), backends, s.settings.checkers);
  current.of_nodes = s.view.of_nodes;
  current.in_use = in_use;
  current.waiting = waiting;
  s.leading.version = 0;

  std::vector<std::string> mine;
  for (const Assignment::Backend& backend : current.backends) {
    if (std::any_of(backend.checkers.begin(), backend.checkers.end(),
                    [&](uint16_t node) { return current.nodes[node] == s.settings.node; }))
      mine.push_back(backend.name);
  }
  if (mine == s.own.checked) return;
  s.own.checked = std::move(mine);
  std::erase_if(s.own.opinions, [&](const auto& one) {
    return !std::binary_search(s.own.checked.begin(), s.own.checked.end(), one.first);
  });
  out.push_back(Check{s.own.checked});
}

void observe(State& s, Actions& out) {
  const bool lost = is_lost(s);
  alarm_while(s, out, AlarmKind::kContradiction, lost, [&] {
    return fmt::format("this node sees more than {} % of its backends otherwise than the fleet does",
                       s.settings.contradiction_pct);
  });
  const Validation* active =
      s.trusts && s.view.active ? find_validation(s, s.view.active->number, s.view.active->digest) : nullptr;
  const bool left_behind = active != nullptr && active->known && !active->refusal.empty();
  alarm_while(s, out, AlarmKind::kRevisionNotHeld, left_behind, [&] {
    return fmt::format("revision {} is in force, and not valid here: {}", active->number, active->refusal);
  });

  const ObservationsRecord& written = *s.own.observations;
  const char* complaint = lost ? "contradiction" : left_behind ? "revision" : "";
  const bool same = written.complaint == complaint &&
                    std::equal(written.backends.begin(), written.backends.end(), s.own.opinions.begin(),
                               s.own.opinions.end(), [](const auto& a, const auto& b) {
                                 return a.first == b.first && a.second == b.second;
                               });
  if (same) return;
  const bool a_step_alone =
      written.complaint == complaint &&
      std::equal(written.backends.begin(), written.backends.end(), s.own.opinions.begin(),
                 s.own.opinions.end(), [](const auto& a, const auto& b) {
                   return a.first == b.first && a.second.health == b.second.health &&
                          a.second.leaves == b.second.leaves;
                 });
  if (a_step_alone && s.now < s.own.observed_at + kGatherSteps)
    return wake_at(s, s.own.observed_at + kGatherSteps);
  s.own.observed_at = s.now;
  ObservationsRecord record;
  record.backends.assign(s.own.opinions.begin(), s.own.opinions.end());
  record.complaint = complaint;
  s.own.observations = std::make_shared<const ObservationsRecord>(std::move(record));
}

BackendStates merged(const State& s) {
  std::vector<const ObservationsRecord*> of_node;
  for (const std::string& node : s.assignment.nodes) {
    const auto found = s.view.observations.find(node);
    of_node.push_back(found != s.view.observations.end() ? found->second.record.get() : nullptr);
  }
  static const BackendStates kNone;
  const BackendStates& before = s.view.state ? *s.view.state->backends : kNone;
  auto held = before.begin();
  BackendStates result;
  std::vector<uint32_t> granted;
  result.reserve(s.assignment.backends.size());
  for (const Assignment::Backend& backend : s.assignment.backends) {
    while (held != before.end() && held->name < backend.name) ++held;
    const bool known = held != before.end() && held->name == backend.name;
    size_t up = 0;
    size_t down = 0;
    size_t leaves = 0;
    size_t stays = 0;
    granted.clear();
    for (const uint16_t node : backend.checkers) {
      if (of_node[node] == nullptr) continue;
      const Opinion says = opinion(*of_node[node], backend.name);
      up += says.health == HealthState::kUp;
      down += says.health == HealthState::kDown;
      leaves += says.leaves;
      stays += says.health == HealthState::kUp && !says.leaves;
      if (says.health == HealthState::kUp) granted.push_back(says.eighths);
    }
    const size_t may_speak = backend.checkers.size();
    const HealthState health = majority(up, down, may_speak, known ? held->health : HealthState::kUnknown);
    const bool starts = health == HealthState::kUp;
    result.push_back({backend.name, health, s.view.drained_backends.contains(backend.name),
                      asks(leaves, stays, may_speak, known && held->leaves),
                      starts ? eighths(granted, may_speak, known ? held->eighths : Standing::kFullWeight)
                             : Standing::kFullWeight});
  }
  return result;
}

}  // namespace linimo::fleet
