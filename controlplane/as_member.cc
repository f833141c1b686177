// The controller as a node of a fleet: what the fleet wants of it, and what it tells the fleet.

#include "controlplane/controller.h"
#include "controlplane/log.h"

namespace linimo {

using std::chrono::milliseconds;

bool Controller::may_plan() const {
  if (fleet_leads()) return true;
  // A member of a fleet whose file has no services waits for the fleet's: what is live stays meanwhile.
  return monitor_.all_known() && (member_ == nullptr || !config_.services.empty());
}

void Controller::configure_checks() {
  monitor_.configure(member_ != nullptr ? member_->to_check(config_) : config_);
  if (member_ != nullptr) member_->on_checks();
}

void Controller::checks_changed() {
  if (!start_.is(StartPhase::kAsking)) configure_checks();
}

fleet::Opinion Controller::observed(const BackendKey& backend) const {
  const CheckCounts counts = monitor_.counts(backend);
  if (counts.successes + counts.failures == 0) return HealthState::kUnknown;
  const Standing seen = monitor_.standing(backend);
  return {seen.health, seen.drains};
}

void Controller::adopt(Config config) {
  planner_.all_changed();
  if (config.revision == config_.revision) return evaluate_after(milliseconds(0), "fleet");
  hold_ids(config);
  take_over(std::move(config), "fleet");
}

/// A node that knows of no tables begins with the fleet's: their slots are as unsettled here as elsewhere.
void Controller::recall_tables() {
  if (!fleet_leads() || !publisher_.knows_no_tables()) return;
  Planner planner;
  std::vector<Learning::Former> former;
  for (const FleetMember::Former& tables : member_->former()) {
    planner.all_changed();
    const auto standing = [&](const BackendKey& key) { return tables.standing(key); };
    former.push_back({planner.plan(config_, standing, ids_, 0), tables.since});
  }
  publisher_.recall(std::move(former));
}

void Controller::drain_node(bool wanted) {
  const auto done = wanted ? announcer_.drain("fleet") : announcer_.undrain("fleet");
  if (!done) log_warning("the fleet's wish to drain this node is not followed", {{"why", done.error()}});
}

/// What the data plane's packets make it tell the other nodes.
void Controller::on_flow_words(std::span<const linimo_flow_word> words) {
  const auto live = live_snapshot();
  if (member_ != nullptr && live)
    member_->tell(flow_names_.to_fleet(words, *live, std::chrono::steady_clock::now()));
}

void Controller::hear(std::span<const fleet::SharedFlow> flows) {
  if (const auto live = live_snapshot())
    publisher_.tell(flow_names_.from_fleet(flows, *live, std::chrono::steady_clock::now()));
}

void Controller::note_forwarding() {
  if (fleet_leads() && tables_.is(TablesPhase::kCurrent))
    member_->on_forwarding(live_generation(), live_digest());
}

void Controller::note_serving() {
  // One that drains announces still, for as long as routers take to turn elsewhere.
  if (member_ != nullptr)
    member_->on_serving(watch_.serving().serves && announcer_.phase() != DrainPhase::kDrained);
}

bool Controller::drained_by_operator(const BackendKey& backend) const {
  return fleet_leads() ? member_->drained_by_operator(backend) : drains_.contains(backend);
}

}  // namespace linimo
