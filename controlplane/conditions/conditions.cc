#include "controlplane/conditions/conditions.h"

#include <fmt/format.h>

namespace linimo {
namespace {

std::string failure_text(const Conditions::Key& key, const Condition& condition) {
  const auto& [name, subject] = key;
  return fmt::format("{}{}{}{}{}", name, subject.empty() ? "" : " ", subject,
                     condition.evidence.empty() ? "" : ": ", condition.evidence);
}

}  // namespace

Condition& Conditions::put(const ConditionReport& report, Time now) {
  const auto [at, first] = all_.try_emplace(Key(report.name, report.subject));
  Condition& condition = at->second;
  if (first || condition.state != report.state) condition.since = now;
  if (first) condition.scope = condition_kind(report.name).scope;
  condition.state = report.state;
  condition.evidence = report.evidence;
  condition.mend = report.mend;
  condition.device = report.device;
  return condition;
}

void Conditions::set(const ConditionReport& report, Time now, std::optional<ConditionScope> scope) {
  Condition& condition = put(report, now);
  if (scope) condition.scope = *scope;
}

void Conditions::begin_reports() {
  for (auto& [key, condition] : all_) condition.confirmed = false;
}

void Conditions::report(const ConditionReport& report, Time now) {
  if (report.watched) {
    Condition& condition = put(report, now);
    condition.reported = condition.confirmed = true;
    return;
  }
  const auto at = all_.find(Key(report.name, report.subject));
  if (at == all_.end() || !at->second.reported) return;
  if (at->second.failed) gone_.push_back({at->first, at->second});
  all_.erase(at);
}

void Conditions::end_reports() {
  std::erase_if(all_, [this](const auto& entry) {
    const auto& [key, condition] = entry;
    if (!condition.reported || condition.confirmed) return false;
    if (condition.failed) gone_.push_back({key, condition});
    return true;
  });
}

void Conditions::lose_reports(Time now) {
  for (auto& [key, condition] : all_) {
    if (!condition.reported || condition.state == ConditionState::kUnknown) continue;
    condition.state = ConditionState::kUnknown;
    condition.since = now;
    condition.evidence = "no data plane tells of it";
    condition.mend.clear();
  }
}

/// What is unknown decides nothing: what was decided stays until it is known again.
std::optional<Conditions::Time> Conditions::due(const Key& key, const Condition& condition) {
  const ConditionKind& kind = condition_kind(key.first);
  if (condition.state == ConditionState::kFails && !condition.failed)
    return condition.since + kind.fails_after;
  if (condition.state == ConditionState::kHolds && condition.failed)
    return condition.since + kind.holds_after;
  return std::nullopt;
}

std::vector<Conditions::Change> Conditions::step(Time now) {
  std::vector<Change> changes = std::exchange(gone_, {});
  for (Change& change : changes) change.condition.failed = false;
  for (auto& [key, condition] : all_) {
    const auto when = due(key, condition);
    if (!when || *when > now) continue;
    condition.failed = condition.state == ConditionState::kFails;
    changes.push_back({key, condition});
  }
  return changes;
}

std::optional<Conditions::Time> Conditions::next_step() const {
  std::optional<Time> next;
  for (const auto& [key, condition] : all_) {
    const auto when = due(key, condition);
    if (when && (!next || *when < *next)) next = when;
  }
  return next;
}

Serving Conditions::serving() const {
  struct Interface {
    std::string device;
    std::string failure;  // empty: it serves
  };
  std::map<std::string, Interface> interfaces;
  for (const auto& [key, condition] : all_) {
    if (condition.scope == ConditionScope::kNode && condition.failed)
      return {false, failure_text(key, condition), {}};
    if (condition.scope != ConditionScope::kInterface) continue;
    Interface& interface = interfaces[key.second];
    interface.device = condition.device;
    if (condition.failed && interface.failure.empty()) interface.failure = failure_text(key, condition);
  }
  std::string failures;
  for (const auto& [name, interface] : interfaces) {
    if (interface.failure.empty()) return {true, {}, interface.device};
    failures += (failures.empty() ? "" : "; ") + interface.failure;
  }
  return {interfaces.empty(), failures, {}};
}

}  // namespace linimo
