// What a node knows of its fleet, as `linimo node list` and `linimo fleet status` show it.

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/fleet/activation.h"
#include "controlplane/member/desk.h"

namespace linimo {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

std::string hex(uint64_t digest) {
  return fmt::format("{:016x}", digest);
}

json table_view(const fleet::TableId& table, uint64_t digest) {
  return {{"revision", table.revision}, {"state", table.state}, {"digest", hex(digest)}};
}

json said(const json& about, const char* what) {
  return about.is_object() && about.contains(what) && about[what].is_string() ? about[what] : json(nullptr);
}

json node_view(const FleetMember& member, const std::string& name, const fleet::NodeRecord& record) {
  const fleet::State& state = member.state();
  const json about = json::parse(record.about, nullptr, false);
  json view = {{"name", name},
               {"self", name == state.settings.node},
               {"instance", record.instance},
               {"address", said(about, "address")},
               {"engine", said(about, "engine")},
               {"version", said(about, "version")},
               {"sessions", said(about, "sessions")},
               {"announces", record.announces},
               {"leads", state.view.leader && state.view.leader->node == name},
               {"drained", state.view.drained_nodes.contains(name)},
               {"table", nullptr},
               {"heard_ms_ago", nullptr},
               {"phi", nullptr}};
  if (const auto seen = state.view.observations.find(name);
      seen != state.view.observations.end() && seen->second)
    view["complaint"] = seen->second->complaint;
  if (name == state.settings.node) {
    view["table"] = table_view(state.own.live, state.own.live_digest);
    return view;
  }
  if (const auto heard = member.heard().find(name); heard != member.heard().end()) {
    view["table"] = table_view(heard->second.heartbeat.table, heard->second.heartbeat.digest);
    view["heard_ms_ago"] =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - heard->second.at).count();
  }
  if (const auto peer = state.peers.find(name); peer != state.peers.end())
    view["phi"] = std::min(peer->second.phi.phi(Clock::now()), 99.0);
  return view;
}

/// In whom the fleet disagrees, and in what; empty: all that is known is the same.
std::vector<std::string> differences(const json& nodes, const fleet::TableId& live, uint64_t digest) {
  std::vector<std::string> found;
  for (const json& node : nodes) {
    const std::string name = node["name"];
    if (node["table"].is_null()) {
      found.push_back(fmt::format("nothing is heard from {}", name));
    } else if (node["table"] != table_view(live, digest)) {
      found.push_back(fmt::format(
          "{} forwards by revision {}, state {}, digest {}", name, node["table"]["revision"].get<uint64_t>(),
          node["table"]["state"].get<uint64_t>(), node["table"]["digest"].get<std::string>()));
    }
  }
  return found;
}

}  // namespace

/// Once in a change of the fleet: a node whose lease ends is not in the store any more.
void FleetMember::note_departures() {
  constexpr std::chrono::hours kRemembered{1};
  const auto now = Clock::now();
  std::erase_if(departed_, [&](const auto& one) { return now - one.second.at > kRemembered; });
  if (std::exchange(noted_, state_.view.version) == state_.view.version) return;
  std::map<std::string, std::string> members;
  for (const auto& [name, node] : state_.view.nodes) {
    if (!node) continue;
    const json address = said(json::parse(node->about, nullptr, false), "address");
    members.emplace(name, address.is_string() ? address.get<std::string>() : "");
    departed_.erase(name);
  }
  for (const auto& [name, address] : members_)
    if (!members.contains(name)) departed_[name] = {address, now};
  members_ = std::move(members);
}

json FleetDesk::status() const {
  const fleet::State& state = member_.state();
  json nodes = json::array();
  for (const auto& [name, held] : state.view.nodes)
    if (held) nodes.push_back(node_view(member_, name, *held));
  json departed = json::array();
  for (const auto& [name, node] : member_.departed())
    departed.push_back(
        {{"name", name},
         {"address", node.address},
         {"ended_s_ago", std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - node.at).count()}});
  json alarms = json::object();
  for (const auto& [kind, text] : member_.alarms()) alarms[alarm_name(kind)] = text;
  const uint64_t candidate = state.view.candidate();
  std::vector<std::string> different = differences(nodes, state.own.live, state.own.live_digest);
  const bool agree = different.empty() && alarms.empty() && candidate == 0 && state.own.live.revision != 0 &&
                     state.own.live == state.memory.table.id();
  return {{"fleet", member_.settings().name},
          {"node", state.settings.node},
          {"store",
           {{"endpoint", member_.store().endpoint()},
            {"in_reach", fleet::in_reach(state)},
            {"revision", state.view.revision},
            {"epoch", state.view.epoch_number()},
            {"keeps_all", member_.store_keeps_all()},
            {"error", member_.last_error()}}},
          {"leader", state.view.leader ? json(state.view.leader->node) : json(nullptr)},
          {"newest", state.view.newest
                         ? json{{"revision", state.view.newest->number}, {"by", state.view.newest->by}}
                         : json(nullptr)},
          {"active", state.view.active_number()},
          {"waiting", candidate},
          {"undecided", fleet::undecided(state.view)},
          {"state", state.view.state ? state.view.state->number : 0},
          {"table", table_view(state.own.live, state.own.live_digest)},
          {"nodes", std::move(nodes)},
          {"departed", std::move(departed)},
          {"fragments", {{"handlers", state.own.handlers.tunnels}, {"move", state.own.handlers.move}}},
          {"alarms", std::move(alarms)},
          {"differences", std::move(different)},
          {"agree", agree}};
}

}  // namespace linimo
