#include "dataplane/conditions.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace linimo {
namespace {

void log_change(const ConditionBoard::Key& key, const ConditionBoard::Entry& entry, bool first) {
  const auto& [name, subject] = key;
  const bool asks = entry.state == ConditionState::kFails || !entry.mend.empty();  // somebody to do something
  if (first && !asks) return;
  const auto level = asks ? spdlog::level::warn : spdlog::level::info;
  spdlog::log(level, "{}{}{} {}{}{}{}{}", subject, subject.empty() ? "" : ": ", name,
              condition_state_name(entry.state), entry.evidence.empty() ? "" : ": ", entry.evidence,
              entry.mend.empty() ? "" : "; ", entry.mend);
}

}  // namespace

void ConditionBoard::set(std::string_view name, std::string_view subject, ConditionState state,
                         std::string_view evidence, std::string_view mend) {
  const auto [at, first] = entries_.try_emplace(Key(name, subject));
  Entry& entry = at->second;
  const bool state_changed = first || entry.state != state;
  if (!state_changed && entry.evidence == evidence && entry.mend == mend) return;
  entry = {state, std::string(evidence), std::string(mend)};
  if (state_changed) log_change(at->first, entry, first);
  on_change_(at->first, &entry);
}

void ConditionBoard::forget(std::string_view name, std::string_view subject) {
  const auto at = entries_.find(Key(name, subject));
  if (at == entries_.end()) return;
  const Key key = at->first;
  entries_.erase(at);
  on_change_(key, nullptr);
}

void ConditionBoard::announce_by(std::string_view interface, std::string_view device) {
  devices_.insert_or_assign(std::string(interface), std::string(device));
}

std::string_view ConditionBoard::device_of(const std::string& interface) const {
  const auto found = devices_.find(interface);
  return found == devices_.end() ? std::string_view() : found->second;
}

}  // namespace linimo
