// What must hold, whatever happens.

#include <algorithm>

#include <fmt/format.h>

#include "tests/fleet/simulation.h"

namespace linimo::fleet {
namespace {

/// By which time a fleet of which something has gone must have made up for it: a lease that runs out, a
/// member of the store that is left, tables that are made.
constexpr seconds kGrace{20};
/// By which time a node has heard of another that it is well, though heartbeats are lost.
constexpr seconds kTold{20};

HealthState health_in(const BackendStates& states, const std::string& name) {
  for (const BackendState& state : states) {
    if (state.name == name) return state.health;
  }
  return HealthState::kUnknown;
}

}  // namespace

void Simulation::violated(const std::string& what) {
  if (!result_.violation.empty()) return;
  result_.violation =
      fmt::format("at {:.3f} s: {}", std::chrono::duration<double>(queue_.now()).count(), what);
  say("VIOLATED: " + what);
}

/// Nothing that a node remembers grows without bound.
void Simulation::check_step(const Node& node) {
  const State& s = node.state;
  const size_t most = nodes_.size();
  if (s.validations.size() > 2 || s.peers.size() > most || s.view.ready.size() > most ||
      s.view.nodes.size() > most || s.own.opinions.size() > backends_.size() ||
      (s.view.state && s.view.state->history.size() > kMostPast))
    violated(node.name + " remembers more than there is");
}

/// As a leader sends a state: it follows from what the leader had been told.
void Simulation::check_state(const Node& node, const StateRecord& next) {
  const View& view = node.state.view;
  static const BackendStates kNone;
  const BackendStates& before = view.state ? *view.state->backends : kNone;
  std::vector<std::string> living;
  for (const auto& [name, held] : view.nodes) living.push_back(name);
  std::vector<std::string> names;
  for (const BackendState& backend : *next.backends) names.push_back(backend.name);
  const Assignment assignment = assign(living, names, Settings{}.checkers);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& checkers = assignment.backends[i].checkers;
    size_t up = 0;
    size_t down = 0;
    size_t granting = 0;
    for (const uint16_t checker : checkers) {
      const auto found = view.observations.find(assignment.nodes[checker]);
      if (found == view.observations.end() || !found->second) continue;
      for (const auto& [name, opinion] : found->second->backends) {
        up += name == names[i] && opinion.health == HealthState::kUp;
        down += name == names[i] && opinion.health == HealthState::kDown;
        granting += name == names[i] && opinion.health == HealthState::kUp &&
                    opinion.eighths >= (*next.backends)[i].eighths;
      }
    }
    const HealthState was = health_in(before, names[i]);
    const HealthState is = (*next.backends)[i].health;
    const size_t half = checkers.size() / 2;
    if (is == HealthState::kDown && up > half)
      violated(names[i] + " is called down, and most of its checkers see it up");
    const auto held = std::ranges::find(before, names[i], &BackendState::name);
    if (is == HealthState::kUp && granting <= half && held != before.end() && was == HealthState::kUp &&
        held->eighths != (*next.backends)[i].eighths)
      violated(fmt::format("{} has {} eighths by the grant of {} of {} checkers", names[i],
                           (*next.backends)[i].eighths, granting, checkers.size()));
    if (is == was) continue;
    if ((is == HealthState::kDown ? down : up) <= half)
      violated(fmt::format("{} is called {} by {} of {} checkers", names[i],
                           is == HealthState::kDown ? "down" : "up", is == HealthState::kDown ? down : up,
                           checkers.size()));
  }
}

/// As the store takes what somebody wrote.
void Simulation::check_commit(const Transact& transaction, const std::map<Key, uint64_t>& before) {
  const Store::Row* leader = store_.find(Key{KeyKind::kLeader});
  const auto* epoch = store_.record<EpochRecord>(Key{KeyKind::kEpoch});
  const auto fenced = [&](const Fence& fence) {
    if (leader == nullptr || leader->created != fence.leader)
      return violated("a leader wrote after it had been succeeded");
    if (fence.epoch != (epoch != nullptr ? epoch->number : 0)) violated("a leader wrote for another epoch");
  };
  for (const Put& put : transaction.puts) {
    if (std::holds_alternative<LeaderRecord>(*put.value)) ++result_.elections;
    if (const auto* state = std::get_if<StateRecord>(put.value.get())) fenced(state->fence);
    if (const auto* vote = std::get_if<ReadyRecord>(put.value.get())) {
      if (!vote->refusal.empty()) refused_.insert({put.key.number, vote->digest});
    }
    const auto* active = std::get_if<ActiveRecord>(put.value.get());
    if (active == nullptr) continue;
    fenced(active->fence);
    const auto was = before.find(Key{KeyKind::kActive});
    if (was != before.end() && was->second >= active->number) {
      if (was->second > active->number) violated("an older revision was activated");
      continue;
    }
    ++result_.activations;
    if (refused_.contains({active->number, active->digest}))
      violated(fmt::format("revision {} was activated, and one has refused it", active->number));
    for (const auto& [key, row] : store_.image().rows) {
      if (key.kind != KeyKind::kNode) continue;
      const uint64_t instance = std::get<NodeRecord>(*row.value).instance;
      if (!validated_.contains({key.name, instance, active->number, active->digest}))
        violated(
            fmt::format("revision {} was activated, and {} has not validated it", active->number, key.name));
    }
  }
}

/// The same revision and state make the same table on every node. (Of a store that was restored, both may
/// come a second time, for nodes that have forgotten the first.)
void Simulation::check_table(const Node& node) {
  for (const auto& other : nodes_) {
    if (other->forwards && other->live == node.live && other->live_digest != node.live_digest)
      violated(fmt::format("{} and {} made two tables of revision {} and state {}", node.name, other->name,
                           node.live.revision, node.live.state));
  }
}

bool Simulation::able(const Node& node, const std::string& vip) const {
  return node.operates() && node.forwards && node.live_summary &&
         std::find(node.live_summary->vips.begin(), node.live_summary->vips.end(), vip) !=
             node.live_summary->vips.end();
}

/// A node that has no word from the store, and sees its backends otherwise than it last heard, leaves its
/// VIPs to one that has word, is well, and can tell it so.
void Simulation::check_lost() {
  for (auto& node : nodes_) {
    const State& s = node->state;
    const bool lost = node->operates() && node->forwards && !in_reach(s) &&
                      s.alarms[static_cast<size_t>(AlarmKind::kContradiction)];
    const bool is_told =
        !heartbeats_lost_ && std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& other) {
          return other != node && other->operates() && s.view.nodes.contains(other->name) &&
                 in_reach(other->state) && other->state.own.observations->complaint.empty() &&
                 !other->routes.draining && other->routes.vips == vips_ && other->able_since &&
                 queue_.now() - *other->able_since > kGrace;
        });
    if (!lost || !is_told) {
      node->lost_since.reset();
    } else if (!node->lost_since) {
      node->lost_since = queue_.now();
    } else if (queue_.now() - *node->lost_since > kTold && !node->routes.vips.empty()) {
      violated(node->name + " has lost its way and the store, and does not leave its VIPs to others");
    }
  }
}

/// Every second: leases end, and a VIP that a node has long been able to serve is announced by somebody.
void Simulation::audit() {
  if (quorum_ && store_.expire(queue_.now())) committed();
  check_lost();
  for (auto& node : nodes_) {
    if (!able(*node, vips_.front())) {
      node->able_since.reset();
    } else if (!node->able_since) {
      node->able_since = queue_.now();
    }
  }
  for (const std::string& vip : vips_) {
    const bool announced = std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
      return std::find(node->routes.vips.begin(), node->routes.vips.end(), vip) != node->routes.vips.end();
    });
    if (announced) {
      nobody_since_.erase(vip);
      continue;
    }
    const Virtual since = nobody_since_.emplace(vip, queue_.now()).first->second;
    for (const auto& node : nodes_) {
      const Virtual from = std::max(since, node->able_since.value_or(queue_.now()));
      if (queue_.now() - from > kGrace)
        return violated(fmt::format("{} is announced by nobody, and {} could", vip, node->name));
    }
  }
}

/// All that went wrong is mended, and a while is over: everybody holds the same, and it is true.
void Simulation::check_agreement() {
  const auto* active = store_.record<ActiveRecord>(Key{KeyKind::kActive});
  const auto* newest = store_.record<RevisionRecord>(Key{KeyKind::kRevision});
  const auto* state = store_.record<StateRecord>(Key{KeyKind::kState});
  const auto* leader = store_.record<LeaderRecord>(Key{KeyKind::kLeader});
  if (active == nullptr || newest == nullptr || state == nullptr || leader == nullptr)
    return violated("the store does not have all that it should");
  if (active->number != newest->number)
    return violated(fmt::format("revision {} is active, and not {}", active->number, newest->number));
  if (!state->excused.empty()) return violated(state->excused.front() + " is excused, and all is well");
  for (const auto& [name, up] : backends_) {
    if (health_in(*state->backends, name) != (up ? HealthState::kUp : HealthState::kDown))
      return violated(fmt::format("{} is {}, and the fleet holds otherwise", name, up ? "up" : "down"));
  }
  for (const BackendState& backend : *state->backends) {
    if (backend.drains != (store_.find(Key{KeyKind::kDrainBackend, 0, backend.name}) != nullptr))
      return violated(backend.name + " drains or does not, and it should be otherwise");
  }
  const TableId table{active->number, active->digest, state->number, state->fence};
  HandleFragments handlers;
  for (const auto& node : nodes_) {
    const bool drains = store_.find(Key{KeyKind::kDrainNode, 0, node->name}) != nullptr;
    (drains ? handlers.others : handlers.tunnels).push_back(node->name);
  }
  std::ranges::sort(handlers.tunnels);
  std::ranges::sort(handlers.others);
  if (handlers.tunnels.empty()) handlers = {};
  for (const auto& node : nodes_) {
    if (node->live != table)
      return violated(fmt::format("{} forwards by revision {} and state {}, and not by {} and {}", node->name,
                                  node->live.revision, node->live.state, table.revision, table.state));
    if (node->routes.vips != vips_) return violated(node->name + " does not announce every VIP");
    if (node->handlers != handlers)
      return violated(fmt::format("{} passes fragments between {}{}, and there are {}", node->name,
                                  fmt::join(node->handlers.tunnels, " "),
                                  node->handlers.move ? ", which move" : "",
                                  fmt::join(handlers.tunnels, " ")));
    if (node->routes.draining != (store_.find(Key{KeyKind::kDrainNode, 0, node->name}) != nullptr))
      return violated(node->name + " drains or does not, and it should be otherwise");
    for (size_t kind = 0; kind < kAlarmKinds; ++kind) {
      if (node->state.alarms[kind])
        return violated(fmt::format("{} has the alarm {}, and all is well", node->name,
                                    alarm_name(static_cast<AlarmKind>(kind))));
    }
  }
}

/// While nothing happened, nothing was written but that leases were kept, and nobody changed his mind.
void Simulation::check_quiet() {
  if (store_.revision() != quiet_from_)
    return violated(fmt::format("{} times something was written while nothing happened",
                                store_.revision() - quiet_from_));
  if (quiet_actions_ != 0) violated("somebody changed his mind while nothing happened");
}

}  // namespace linimo::fleet
