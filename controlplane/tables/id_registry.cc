#include "controlplane/tables/id_registry.h"

#include <algorithm>

namespace linimo {
namespace {

// That many given-back numbers are remembered for names that may return, before the oldest is reused. Numbers
// never given are taken first: their counters start from zero.
constexpr size_t kRemembered = 4096;

}  // namespace

bool IdRegistry::hold(const std::set<std::string>& names, Time now, std::chrono::seconds rest) {
  const auto is_held = [this](const std::string& name) {
    const auto found = entries_.find(name);
    return found != entries_.end() && found->second.held;
  };
  const size_t held = entries_.size() - resting_.size();
  if (held == names.size() && std::all_of(names.begin(), names.end(), is_held)) return true;

  const IdRegistry before = *this;
  ++version_;
  for (auto& [name, entry] : entries_) {
    if (!entry.held || names.contains(name)) continue;
    entry.held = false;
    entry.released = now;
    resting_.emplace(now, name);
  }
  // Names that return come first: nobody else may take the number that waits for them.
  for (const std::string& name : names) {
    if (const auto id = find(name)) put(name, *id);
  }
  for (const std::string& name : names) {
    if (find(name) || take(name, now, rest)) continue;
    *this = before;
    return false;
  }
  return true;
}

bool IdRegistry::take(const std::string& name, Time now, std::chrono::seconds rest) {
  const bool rested = !resting_.empty() && now - resting_.begin()->first >= rest;
  if (fresh_ < limit_ && !(rested && resting_.size() > kRemembered)) {
    put(name, fresh_);
    return true;
  }
  if (!rested) return false;
  put(name, *find(resting_.begin()->second));
  return true;
}

/// The name holds the number from now on; who had it, and what the name had, is forgotten.
void IdRegistry::put(const std::string& name, uint32_t id) {
  const auto same = entries_.find(name);
  if (same != entries_.end() && same->second.id == id && same->second.held) return;
  if (const auto owner = names_.find(id); owner != names_.end()) forget(std::string(owner->second));
  forget(name);
  entries_[name] = {id, true, {}};
  names_[id] = name;
  fresh_ = std::max(fresh_, id + 1);
}

void IdRegistry::forget(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  if (!found->second.held) resting_.erase({found->second.released, name});
  names_.erase(found->second.id);
  entries_.erase(found);
}

bool IdRegistry::learn(std::string_view name, uint32_t id, bool held, Time now) {
  if (id >= limit_) return false;
  const std::string key(name);
  ++version_;
  put(key, id);
  if (!held) {
    entries_[key] = {id, false, now};
    resting_.emplace(now, key);
  }
  return true;
}

std::optional<uint32_t> IdRegistry::find(std::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return std::nullopt;
  return found->second.id;
}

}  // namespace linimo
