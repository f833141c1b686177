// What the fleet's tables were lately, for a node that was not there.

#include <algorithm>
#include <utility>

#include "controlplane/log.h"
#include "controlplane/member/documents_in_store.h"
#include "controlplane/member/member.h"

namespace linimo {

/// Once: a node that knows no tables makes those that the others had lately, of which some are of earlier
/// revisions.
void FleetMember::look_back() {
  if (look_back_ != LookBack::kNotYet) return;
  look_back_ = LookBack::kReading;
  const auto& history = state_.view.state->history;
  for (const fleet::Past& past : history)
    if (past.revision != state_.view.active_number()) reading_.insert(past.revision);
  if (reading_.empty()) return looked_back();
  for (const uint64_t number : std::set<uint64_t>(reading_)) {
    const auto found = [this, number](tl::expected<Documents, std::string> documents) {
      if (documents)
        earlier_[number] = Revisions::read(number, 0, std::move(*documents), text_, file_).config;
      else
        log_warning("what was in force before cannot be read",
                    {{"revision", number}, {"why", documents.error()}});
      reading_.erase(number);
      if (reading_.empty()) looked_back();
    };
    read_documents(*store_, keys_, number, found);
  }
}

void FleetMember::looked_back() {
  look_back_ = LookBack::kDone;
  if (after_reading_) publish(*std::exchange(after_reading_, std::nullopt));
  node_->former_known();
}

/// etcd keeps every revision unless it is told otherwise, and stops when it is full. Less than so many come
/// together in the first hour, before one that is told has compacted anything.
void FleetMember::look_at_history(int64_t revision) {
  constexpr int64_t kMany = 10'000;
  constexpr std::chrono::hours kAgain{1};
  const auto now = std::chrono::steady_clock::now();
  if (revision < kMany || (looked_at_history_ != decltype(now)() && now - looked_at_history_ < kAgain))
    return;
  looked_at_history_ = now;
  store_->keeps_all(keys_.prefix(), [this](const tl::expected<bool, std::string>& kept) {
    if (kept) store_keeps_all_ = *kept;
  });
}

std::optional<std::vector<FleetMember::Former>> FleetMember::former() const {
  const Revision* in_force = revisions_.find(wanted_.revision, wanted_.documents);
  if (look_back_ != LookBack::kDone || standings_ == nullptr || in_force == nullptr) return std::nullopt;
  // What this node remembers has no history: for how long it was away it does not know.
  const auto& stored = state_.view.state;
  if (!stored || stored->number != standings_->number || stored->fence != standings_->fence)
    return std::nullopt;
  std::vector<Former> former;
  const auto now = std::chrono::steady_clock::now();
  const auto revision_of = [&](uint64_t number) -> std::shared_ptr<const Config> {
    if (number == wanted_.revision) return in_force->config;
    const auto found = earlier_.find(number);
    return found != earlier_.end() ? found->second : nullptr;
  };
  for (const fleet::Past& past : stored->history) {
    const auto ended = now - past.ago;
    if (!former.empty()) former.back().since = ended;  // it followed this one
    auto config = revision_of(past.revision);
    if (config == nullptr) break;
    former.push_back({std::move(config), past.backends, ended});
  }
  // And what is in force, from when it began: slots are as far in their windows as elsewhere.
  if (!former.empty())
    former.insert(former.begin(),
                  {in_force->config, standings_->backends, now - stored->history.front().ago});
  std::ranges::reverse(former);
  return former;
}

}  // namespace linimo
