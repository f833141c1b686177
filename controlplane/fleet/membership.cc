#include "controlplane/fleet/membership.h"

#include <utility>

#include <fmt/format.h>

#include "controlplane/fleet/activation.h"
#include "controlplane/fleet/session.h"

namespace linimo::fleet {
namespace {

template <typename Map, typename Name>
typename Map::mapped_type find(const Map& map, const Name& name) {
  const auto found = map.find(name);
  return found != map.end() ? found->second : typename Map::mapped_type{};
}

template <typename Record>
void want(Transact& transaction, const Held<Record>& held, Key key, const Record& wanted, int64_t lease) {
  if (held && *held == wanted && held.lease == lease) return;
  transaction.compares.push_back({key, Compare::What::kChanged, held.changed});
  transaction.puts.push_back({std::move(key), std::make_shared<const Value>(wanted), lease});
}

}  // namespace

bool is_member(const State& s) {
  const auto found = s.view.nodes.find(s.settings.node);
  return found != s.view.nodes.end() && found->second && found->second->instance == s.settings.instance &&
         found->second.lease == s.session.lease && in_reach(s);
}

void describe(State& s, const Described& described) {
  s.settings.about = described.about;
  NodeRecord node = *s.own.node;
  node.about = described.about;
  s.own.node = std::make_shared<const NodeRecord>(std::move(node));
}

void write_own(State& s, Actions& out) {
  const std::string& me = s.settings.node;
  const auto registered = find(s.view.nodes, me);
  s.replaced = registered && registered->instance > s.settings.instance;
  alarm_while(s, out, AlarmKind::kReplaced, s.replaced, [&] {
    return fmt::format("another process runs as node {}, and began later; this one stands back", me);
  });
  if (s.replaced || !in_reach(s) || !idle(s, s.session.own)) return;

  Transact transaction;
  const int64_t lease = s.session.lease;
  want(transaction, registered, Key{KeyKind::kNode, 0, me}, *s.own.node, lease);
  want(transaction, find(s.view.observations, me), Key{KeyKind::kObservations, 0, me}, *s.own.observations,
       lease);
  if (const Validation* vote = vote_of(s)) {
    const auto stands = find(s.view.ready, std::pair(vote->number, me));
    // What was refused once stays refused: a revision that a node could not live with is not activated.
    if (!stands || stands->refusal.empty() || stands->digest != vote->digest) {
      want(transaction, stands, Key{KeyKind::kReady, vote->number, me},
           ReadyRecord{s.settings.instance, vote->digest, vote->refusal}, 0);
    }
  }
  if (transaction.puts.empty()) return;
  if (transaction.puts.front().key.kind != KeyKind::kNode)
    transaction.compares.push_back({Key{KeyKind::kNode, 0, me}, Compare::What::kChanged, registered.changed});
  send(s, out, s.session.own, std::move(transaction));
}

}  // namespace linimo::fleet
