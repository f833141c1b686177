#include "controlplane/fleet/stand_in.h"

#include <algorithm>

namespace linimo::fleet {
namespace {

constexpr int kHeard = 6;  // of so many heartbeats one comes through

}  // namespace

bool stands_in(const State& s) {
  const bool excused = s.view.state && std::binary_search(s.view.state->excused.begin(),
                                                          s.view.state->excused.end(), s.settings.node);
  return in_reach(s) && s.trusts && !excused && s.own.observations->complaint.empty() &&
         !s.own.node->announces.empty();
}

bool is_stood_in_for(const State& s, const std::string& vip) {
  if (s.now < s.session.lease_until + s.settings.notice) return false;
  return std::any_of(s.peers.begin(), s.peers.end(), [&](const auto& one) {
    const auto& [name, peer] = one;
    const auto node = s.view.nodes.find(name);
    return peer.stands_in && s.now < peer.heard + kHeard * s.settings.heartbeat &&
           node != s.view.nodes.end() && node->second &&
           std::binary_search(node->second->announces.begin(), node->second->announces.end(), vip);
  });
}

}  // namespace linimo::fleet
