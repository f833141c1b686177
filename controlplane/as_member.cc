// The controller as a node of a fleet: what the fleet wants of it, and what it tells the fleet.

#include <algorithm>
#include <set>

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
  if (member_ == nullptr) return;
  if (fleet_leads()) monitor_.inherit(shares_in_fleet());
  member_->on_checks();
}

/// Of backends that start slowly, or are held back, how far they are: who begins to check one has not seen it
/// go. Whether they are up it must see itself.
std::map<BackendKey, Standing> Controller::shares_in_fleet() const {
  std::map<BackendKey, Standing> shares;
  for (const PoolConfig& pool : config_.pools) {
    for (const BackendConfig& backend : pool.backends) {
      const BackendKey key{pool.name, backend.address};
      Standing share = HealthState::kUnknown;
      share.eighths = member_->standing(key).eighths;
      if (share.eighths != Standing::kFullWeight) shares.emplace(key, share);
    }
  }
  return shares;
}

// What the fleet holds of it may be otherwise than what this node has seen, and others may check it.
std::string Controller::detail(const BackendKey& backend) const {
  std::string own = monitor_.detail(backend);
  if (!fleet_leads()) return own;
  Standing held = member_->standing(backend);
  held.drains = member_->drains_itself(backend);  // what operators wish is told elsewhere
  std::string note = standing_note(held);
  const bool has_own = own != HealthMonitor::kNotChecked && own != standing_note(monitor_.standing(backend));
  return has_own || (note.empty() && own == HealthMonitor::kNotChecked) ? own : note;
}

void Controller::checks_changed() {
  if (!start_.is(StartPhase::kAsking)) configure_checks();
}

fleet::Opinion Controller::observed(const BackendKey& backend) const {
  const CheckCounts counts = monitor_.counts(backend);
  if (counts.successes + counts.failures == 0) return HealthState::kUnknown;
  const Standing seen = monitor_.standing(backend);
  return {seen.health, seen.drains, seen.held_back ? 0 : seen.eighths};
}

void Controller::adopt(Config config) {
  planner_.all_changed();
  if (config.revision == config_.revision) return evaluate_after(milliseconds(0), "fleet");
  hold_ids(config);
  take_over(std::move(config), "fleet");
}

/// A node that knows of no tables begins with the fleet's, as soon as it has word from the store: their slots
/// are as unsettled here as elsewhere.
void Controller::recall_tables() {
  if (!fleet_leads()) return;
  began_anew_ |= publisher_.knows_no_tables();
  if (!began_anew_) return;
  const auto fleets = member_->former();
  if (!fleets) return;
  began_anew_ = false;
  Planner planner;
  Ids ids = ids_;
  std::vector<Learning::Former> former;
  for (const FleetMember::Former& tables : *fleets) {
    planner.all_changed();
    ids.hold(*tables.config, {}, publisher_.live(), std::chrono::steady_clock::now());
    const auto standing = [&](const BackendKey& key) { return tables.standing(key); };
    former.push_back({planner.plan(*tables.config, standing, ids, 0), tables.since});
  }
  if (!former.empty()) publisher_.recall(std::move(former));
}

void Controller::former_known() {
  if (began_anew_) evaluate_after(milliseconds(0), "fleet");
}

/// Those that the data plane goes by; this process takes them over until the fleet says otherwise.
fleet::HandleFragments Controller::live_handlers() {
  const auto live = live_snapshot();
  if (!live || !member_->handlers().tunnels.empty()) return {};
  const Handlers handlers = handlers_in(*live, tunnel_end(config_.node));
  planner_.set_handlers(handlers);
  hold_ids(config_);
  fleet::HandleFragments known{.tunnels = {}, .move = handlers.move};
  for (const Address& node : handlers.others) known.tunnels.push_back(node.to_string());
  if (handlers.self) known.tunnels.push_back(handlers.self->to_string());
  for (const Address& node : handlers.idle) known.others.push_back(node.to_string());
  std::ranges::sort(known.tunnels);
  std::ranges::sort(known.others);
  return known;
}

/// The fleet, or this node's own addresses, say otherwise.
void Controller::handlers_changed() {
  const fleet::HandleFragments& wanted = member_->handlers();
  const Address own = tunnel_end(config_.node);
  Handlers handlers{.others = {}, .self = {}, .move = wanted.move};
  std::set<Address> seen;
  const auto add = [&](const std::string& text, std::vector<Address>& to) {
    // What another node has written may be no address of one, or the same in another spelling.
    const auto node = Address::parse(text);
    if (!node || !is_usable_source(*node) || !seen.insert(*node).second) return;
    if (*node == own) {
      if (&to == &handlers.others) handlers.self = own;
    } else if (has_tunnel_source(config_.node, *node)) {
      to.push_back(*node);
    }
  };
  for (const std::string& text : wanted.tunnels) add(text, handlers.others);
  for (const std::string& text : wanted.others) add(text, handlers.idle);
  handlers = make_handlers(std::move(handlers));
  if (handlers.same_nodes(planner_.handlers()) && handlers.move == planner_.handlers().move) return;
  planner_.set_handlers(std::move(handlers));
  hold_ids(config_);
  evaluate_after(milliseconds(0), "nodes");
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
  if (member_ == nullptr) return;
  member_->on_serving(watch_.serving().serves && announcer_.phase() != DrainPhase::kDrained);
  const auto& sessions = announcer_.bird().sessions;
  const auto up = std::ranges::count_if(sessions, [](const BgpSession& session) { return session.up; });
  member_->on_described(publisher_.peer() ? publisher_.peer()->engine : "", sessions.size(),
                        static_cast<size_t>(up));
}

bool Controller::drained_by_operator(const BackendKey& backend) const {
  return fleet_leads() ? member_->drained_by_operator(backend) : drains_.contains(backend);
}

}  // namespace linimo
