#include "controlplane/fleet/heartbeats.h"

#include <utility>

#include <fmt/format.h>

#include "controlplane/fleet/stand_in.h"

namespace linimo::fleet {
namespace {

constexpr double kImprobable = 8;  // phi: once in a hundred million

/// Datagrams may be lost: of a tenth that are, five in a row go once in a hundred thousand. With this, a
/// silence of five is none yet, and one of six heartbeats is told of.
PhiDetector detector(std::chrono::milliseconds heartbeat) {
  return {heartbeat, heartbeat * 9 / 10};
}

}  // namespace

void take_heartbeat(State& s, const Heartbeat& heartbeat, Actions& out) {
  // Only of members: anybody may send, and what is remembered must be bounded.
  if (heartbeat.node == s.settings.node || !s.view.nodes.contains(heartbeat.node)) return;
  auto found = s.peers.find(heartbeat.node);
  if (found == s.peers.end())
    found = s.peers.emplace(heartbeat.node, Peer{.phi = detector(s.settings.heartbeat)}).first;
  Peer& peer = found->second;
  if (std::pair(heartbeat.instance, heartbeat.sequence) <= std::pair(peer.instance, peer.sequence)) return;
  peer.instance = heartbeat.instance;
  peer.sequence = heartbeat.sequence;
  peer.heard = s.now;
  peer.stands_in = heartbeat.stands_in;
  if (std::exchange(peer.silent, false)) {
    peer.phi.forget_last();
    out.push_back(Say{fmt::format("node {} is heard again", heartbeat.node)});
  }
  // Those between the regular ones, which bring news, say nothing of how often a node is heard.
  if (s.now >= peer.counted + s.settings.heartbeat / 2) {
    peer.phi.on_success(s.now);
    peer.counted = s.now;
  }
  if (heartbeat.table.revision == 0 || heartbeat.table != s.own.live) return;
  const bool differs = heartbeat.digest != s.own.live_digest;
  alarm_while(s, out, AlarmKind::kDigestMismatch, differs, [&] {
    return fmt::format("node {} made another table of revision {} and state {}: {:016x} there, {:016x} here",
                       heartbeat.node, heartbeat.table.revision, heartbeat.table.state, heartbeat.digest,
                       s.own.live_digest);
  });
}

void beat(State& s, Actions& out) {
  const bool due = s.now >= s.heartbeat_due;
  if (due) s.heartbeat_due = s.now + s.settings.heartbeat;
  wake_at(s, s.heartbeat_due);
  const bool stands = stands_in(s);
  if (!due && s.told == s.own.live && s.told_stands_in == stands) return;
  s.told = s.own.live;
  s.told_stands_in = stands;
  std::erase_if(s.peers, [&](const auto& peer) { return !s.view.nodes.contains(peer.first); });
  for (auto& [name, peer] : s.peers) {
    if (peer.silent || peer.phi.phi(s.now) < kImprobable) continue;
    peer.silent = true;
    out.push_back(Say{fmt::format("no heartbeat from node {}: it is dead or cut off from this one", name)});
  }
  out.push_back(SendHeartbeat{
      {s.settings.node, s.settings.instance, ++s.heartbeats, s.own.live, s.own.live_digest, stands}});
}

}  // namespace linimo::fleet
