#include "dataplane/link/reports.h"

#include <algorithm>

#include "maglev/abi.h"

namespace linimo {
namespace {

constexpr uint32_t kRange = protocol::NextHops::kRange;

/// Sends what is in the set until the socket takes no more.
template <typename Set, typename SendOne>
void send_all(Set& unsent, SendOne send_one) {
  while (!unsent.empty() && send_one(*unsent.begin())) unsent.erase(unsent.begin());
}

}  // namespace

Reports::Reports(ConditionBoard& board) : board_(board), next_hops_(LINIMO_MAX_BACKEND_IDS + kRange) {
  board_.on_change([this](const ConditionBoard::Key& key, const ConditionBoard::Entry*) {
    unsent_conditions_.insert(key);
    flush();
  });
}

Reports::~Reports() {
  board_.on_change(ConditionBoard::nobody);
}

void Reports::begin(Send send) {
  send_ = std::move(send);
  unsent_conditions_.clear();
  for (const auto& [key, entry] : board_.entries()) unsent_conditions_.insert(key);
  unsent_ranges_ = known_ranges_;
  beat();
}

void Reports::next_hop(uint32_t backend_id, std::optional<linimo_next_hop_state> state) {
  if (backend_id >= LINIMO_MAX_BACKEND_IDS) return;
  const auto said = static_cast<uint8_t>(state ? 1 + *state : 0);
  if (std::exchange(next_hops_[backend_id], said) == said) return;
  known_ranges_.insert(backend_id / kRange);
  unsent_ranges_.insert(backend_id / kRange);
}

void Reports::flush() {
  if (!send_) return;
  send_all(unsent_conditions_, [this](const auto& key) { return send_condition(key); });
  send_all(unsent_ranges_, [this](uint32_t range) { return send_next_hops(range); });
}

void Reports::beat() {
  flush();
  if (!send_ || !unsent_conditions_.empty() || !unsent_ranges_.empty()) return;
  protocol::Heartbeat heartbeat;
  heartbeat.sequence = ++sequence_;
  send_(protocol::encode(heartbeat));
}

bool Reports::send_condition(const ConditionBoard::Key& key) {
  const auto& [name, subject] = key;
  protocol::Condition message;
  protocol::set_text(message.name, name);
  protocol::set_text(message.subject, subject);
  protocol::set_text(message.device, board_.device_of(subject));
  const auto entry = board_.entries().find(key);
  message.watched = entry != board_.entries().end() ? 1 : 0;
  if (message.watched != 0) {
    message.state = static_cast<uint8_t>(entry->second.state);
    protocol::set_text(message.evidence, entry->second.evidence);
    protocol::set_text(message.mend, entry->second.mend);
  }
  return send_(protocol::encode(message));
}

bool Reports::send_next_hops(uint32_t range) {
  protocol::NextHops message;
  message.first_id = range * kRange;
  std::copy_n(next_hops_.begin() + message.first_id, kRange, message.states);
  return send_(protocol::encode(message));
}

}  // namespace linimo
