#include "controlplane/fleet/handlers.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

namespace linimo::fleet {
namespace {

using Names = std::vector<std::string>;
constexpr size_t kMostKnown = 64;

/// Of the nodes that live, or of those among them that announce something.
Names tunnels_of(const View& view, bool announcing) {
  Names tunnels;
  for (const auto& [name, node] : view.nodes) {
    if (node && !node->tunnel.empty() && (!announcing || !node->announces.empty()))
      tunnels.push_back(node->tunnel);
  }
  std::sort(tunnels.begin(), tunnels.end());
  tunnels.erase(std::unique(tunnels.begin(), tunnels.end()), tunnels.end());
  return tunnels;
}

/// By which table the others go, where this node has none: one that joins was not in it.
Names first(const State& s) {
  Names those;
  std::ranges::copy_if(*s.own.next_handlers, std::back_inserter(those),
                       [&](const auto& one) { return one != s.settings.tunnel; });
  return those.empty() ? *s.own.next_handlers : those;
}

/// All that may pass fragments on: those that live, and those that did. One whose lease has ended may
/// forward, by the table that it had, and is listened to.
Names known(const State& s) {
  Names living = tunnels_of(s.view, false);
  Names before = s.own.handlers.tunnels;
  before.insert(before.end(), s.own.handlers.others.begin(), s.own.handlers.others.end());
  std::ranges::sort(before);
  Names all;
  std::ranges::set_union(living, before, std::back_inserter(all));
  return all.size() <= kMostKnown ? all : living;
}

/// Two nodes at one address: fragments that are meant for one come to the other, and so do ICMP errors.
void watch_tunnel(State& s, Actions& out) {
  const auto other = std::ranges::find_if(s.view.nodes, [&](const auto& one) {
    return one.first != s.settings.node && one.second && one.second->tunnel == s.settings.tunnel;
  });
  // The record of a process that has died, or of this node by another name, lasts as long as its lease.
  if (!s.trusts || s.settings.tunnel.empty() || other == s.view.nodes.end()) {
    s.own.shared_since.reset();
  } else if (!s.own.shared_since) {
    s.own.shared_since = s.now;
  }
  const bool shared = s.own.shared_since && s.now >= *s.own.shared_since + 2 * s.settings.lease;
  if (s.own.shared_since && !shared) wake_at(s, *s.own.shared_since + 2 * s.settings.lease);
  alarm_while(s, out, AlarmKind::kTunnelShared, shared, [&] {
    return fmt::format("node {} has encap_source {} too: each node needs its own", other->first,
                       s.settings.tunnel);
  });
}

}  // namespace

void take_handlers(State& s, const HandlersLive& live) {
  if (s.own.handlers.tunnels.empty()) s.own.handlers = live.handlers;
}

void move_tunnel(State& s, const TunnelMoved& moved) {
  s.settings.tunnel = moved.address;
  NodeRecord node = *s.own.node;
  node.tunnel = moved.address;
  s.own.node = std::make_shared<const NodeRecord>(std::move(node));
}

void agree_on_handlers(State& s, Actions& out) {
  watch_tunnel(s, out);
  // Until it is known by which table an earlier process of this node went, and what the store says, that
  // table stays; and an emptied store is no reason to leave it.
  if (!s.own.live_known || !s.session.once_read || !s.trusts) return;
  Names next = tunnels_of(s.view, true);
  if (next != s.own.next_handlers) {
    s.own.next_handlers = std::move(next);
    s.own.handlers_since = s.now;
  }
  HandleFragments wanted = s.own.handlers;
  const Time tells = s.own.handlers_since + s.settings.notice / 3;
  const Time changes = s.own.handlers_since + s.settings.notice;
  const Time ends = changes + s.settings.notice;
  if (wanted.tunnels == s.own.next_handlers && !wanted.move) {
    // Nothing has changed, or it was over before anybody acted on it.
  } else if (s.now < tells && !wanted.tunnels.empty()) {
    wake_at(s, tells);
  } else if (s.now < changes) {
    if (wanted.tunnels.empty()) wanted.tunnels = first(s);
    wanted.move = true;
    wake_at(s, changes);
  } else {
    wanted.tunnels = *s.own.next_handlers;
    wanted.move = s.now < ends;
    if (wanted.move) wake_at(s, ends);
  }
  wanted.others.clear();
  if (!wanted.tunnels.empty())
    std::ranges::set_difference(known(s), wanted.tunnels, std::back_inserter(wanted.others));
  if (wanted == s.own.handlers) return;
  s.own.handlers = wanted;
  out.push_back(std::move(wanted));
}

}  // namespace linimo::fleet
