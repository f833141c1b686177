#include "controlplane/fleet/activation.h"

#include <algorithm>

#include <fmt/format.h>

namespace linimo::fleet {
namespace {

void ask(State& s, Actions& out, uint64_t number, uint64_t digest) {
  auto found = std::find_if(s.validations.begin(), s.validations.end(),
                            [&](const Validation& v) { return v.number == number && v.digest == digest; });
  if (found != s.validations.end() && found->known) return;
  if (found == s.validations.end()) {
    Validation asked;
    asked.number = number;
    asked.digest = digest;
    found = s.validations.insert(found, std::move(asked));
  } else if (s.now < found->asked + s.settings.lease) {
    return wake_at(s, found->asked + s.settings.lease);
  }
  found->asked = s.now;
  wake_at(s, s.now + s.settings.lease);
  out.push_back(Validate{number, digest});
}

struct Votes {
  bool all = true;
  std::string refusal;  // of one that refuses
};

Votes votes(const View& view) {
  Votes votes;
  const uint64_t number = view.candidate();
  for (const auto& [name, node] : view.nodes) {
    const auto found = view.ready.find(std::pair(number, name));
    votes.all = votes.all && node && found != view.ready.end() && found->second &&
                found->second->instance == node->instance && found->second->digest == view.newest->digest &&
                found->second->refusal.empty();
  }
  for (const auto& [key, vote] : view.ready) {
    if (key.first == number && vote && vote->digest == view.newest->digest && !vote->refusal.empty())
      votes.refusal = fmt::format("node {}: {}", key.second, vote->refusal);
  }
  return votes;
}

/// The leader's state speaks of every backend of the candidate.
bool health_known(const State& s, const Summary& candidate) {
  if (!s.view.state) return candidate.backends.empty();
  const BackendStates& states = *s.view.state->backends;
  return std::all_of(candidate.backends.begin(), candidate.backends.end(), [&](const std::string& name) {
    const auto found =
        std::lower_bound(states.begin(), states.end(), name,
                         [](const BackendState& state, const std::string& n) { return state.name < n; });
    return found != states.end() && found->name == name && found->health != HealthState::kUnknown;
  });
}

}  // namespace

void take_validated(State& s, const Validated& validated) {
  for (Validation& asked : s.validations) {
    if (asked.number != validated.number || asked.digest != validated.digest) continue;
    // A vote stands; whether the one in force can be followed changes with this node's own file.
    const bool in_force = s.view.active && asked.number == s.view.active->number;
    if (asked.known && (!in_force || asked.refusal.empty())) continue;
    asked.known = true;
    asked.refusal = validated.refusal;
    asked.summary = validated.summary;
    if (asked.refusal.empty() && !asked.summary) asked.refusal = "it was not read";
  }
}

void validate(State& s, Actions& out) {
  const bool has_candidate = s.view.candidate() != 0;
  std::erase_if(s.validations, [&](const Validation& v) {
    const bool active =
        s.view.active && v.number == s.view.active->number && v.digest == s.view.active->digest;
    const bool candidate =
        has_candidate && v.number == s.view.newest->number && v.digest == s.view.newest->digest;
    return !active && !candidate;
  });
  if (s.trusts && s.view.active) ask(s, out, s.view.active->number, s.view.active->digest);
  if (s.trusts && has_candidate) ask(s, out, s.view.newest->number, s.view.newest->digest);
  const auto refused = has_candidate ? votes(s.view).refusal : std::string();
  alarm_while(s, out, AlarmKind::kRevisionRefused, !refused.empty(), [&] {
    return fmt::format("revision {} does not come into force: {}", s.view.candidate(), refused);
  });
}

const Validation* find_validation(const State& s, uint64_t number, uint64_t digest) {
  const auto found = std::find_if(s.validations.begin(), s.validations.end(), [&](const Validation& v) {
    return v.number == number && v.digest == digest;
  });
  return found != s.validations.end() ? &*found : nullptr;
}

const Validation* vote_of(const State& s) {
  if (!s.trusts || s.view.candidate() == 0) return nullptr;
  const Validation* vote = find_validation(s, s.view.newest->number, s.view.newest->digest);
  return vote != nullptr && vote->known ? vote : nullptr;
}

std::vector<std::string> undecided(const View& view) {
  std::vector<std::string> names;
  const uint64_t candidate = view.candidate();
  if (candidate == 0) return names;
  for (const auto& [name, node] : view.nodes) {
    const auto vote = view.ready.find({candidate, name});
    const bool voted = vote != view.ready.end() && vote->second &&
                       vote->second->digest == view.newest->digest && node &&
                       vote->second->instance == node->instance;
    if (!voted) names.push_back(name);
  }
  return names;
}

bool may_activate(State& s) {
  Leading& leading = s.leading;
  const uint64_t candidate = s.view.candidate();
  const Validation* mine = vote_of(s);
  if (leading.ready_for != candidate) leading.ready_since.reset();
  leading.ready_for = candidate;
  if (mine == nullptr || !mine->refusal.empty()) return false;
  const Votes all = votes(s.view);
  if (!all.all || !all.refusal.empty()) {
    leading.ready_since.reset();
    return false;
  }
  if (!leading.ready_since) leading.ready_since = s.now;
  if (health_known(s, *mine->summary) || s.now >= *leading.ready_since + s.settings.settle) return true;
  wake_at(s, *leading.ready_since + s.settings.settle);
  return false;
}

}  // namespace linimo::fleet
