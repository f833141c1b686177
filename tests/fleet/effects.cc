// What comes of a node's actions: requests that travel to a member of the store and answers that travel back,
// documents that are read, tables that are made, backends that are looked at.

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include "maglev/hash.h"
#include "tests/fleet/simulation.h"

namespace linimo::fleet {
namespace {

/// Stands for the digest of a table: of what tables are a function of.
uint64_t table_of(const TableId& id, const Summary& summary, const StateRecord& state) {
  uint64_t digest = id.documents;
  for (const BackendState& backend : *state.backends) {
    if (!std::binary_search(summary.backends.begin(), summary.backends.end(), backend.name)) continue;
    if (backend.health != HealthState::kUp || backend.drains) continue;
    digest = XXH3_64bits_withSeed(backend.name.data(), backend.name.size(), digest + backend.eighths);
  }
  return digest;
}

std::string told(const Transact& transaction) {
  std::string result;
  for (const Put& put : transaction.puts) result += " " + text(put.key);
  for (const Key& key : transaction.erases) result += " -" + text(key);
  return result;
}

}  // namespace

Virtual Simulation::delay() {
  return network_.delay + within(network_.more);
}

bool Simulation::connected(const Node& node, size_t member) const {
  return !node.cut[member] && !members_[member].frozen;
}

/// `answer` is called when the request has come to the store, and gives the event that goes back, if any
/// does.
template <typename Answer>
void Simulation::ask_store(Node& node, Answer answer) {
  const size_t member = node.member;
  const int times = chance(network_.again_pct) ? 2 : 1;
  for (int i = 0; i < times; ++i) {
    if (chance(network_.loss_pct)) continue;
    queue_.after(delay(), [this, &node, member, life = node.life, answer] {
      // What is on its way goes on when its sender has died.
      if (!connected(node, member)) return;
      std::optional<Event> event = answer(members_[member]);
      if (!event || chance(network_.loss_pct)) return;
      queue_.after(delay(), [this, &node, member, life, event = std::move(*event)] {
        if (node.life == life && connected(node, member)) feed(node, event);
      });
    });
  }
}

void Simulation::carry_out(Node& node, Action& action) {
  if (auto* read = std::get_if<Read>(&action)) {
    ask_store(node, [this, request = read->request](const Member& member) -> std::optional<Event> {
      if (!quorum_ && !member.stuck) return Event(ReadDone{request, true, 0, {}});
      const Store::Image& image = member.stuck ? *member.stuck : store_.image();
      return Event(ReadDone{request, false, image.revision, Store::entries(image)});
    });
  } else if (auto* watch = std::get_if<Watch>(&action)) {
    node.watching.id = watch->watch;
    node.watching.next = watch->from;
    pump(node, delay());
  } else if (std::holds_alternative<ChangeEndpoint>(action)) {
    node.member = (node.member + 1) % kMembers;
    node.watching.id = 0;
    say(node, "changes to another member of the store");
  } else if (auto* grant = std::get_if<GrantLease>(&action)) {
    ask_store(node, [this, request = grant->request](const Member&) -> std::optional<Event> {
      if (!quorum_) return std::nullopt;
      return Event(LeaseAnswer{request, store_.grant(queue_.now()), Settings{}.lease});
    });
  } else if (auto* keep = std::get_if<KeepLease>(&action)) {
    ask_store(node, [this, keep = *keep](const Member&) -> std::optional<Event> {
      if (!quorum_) return std::nullopt;
      const bool kept = store_.keep(keep.lease, queue_.now());
      return Event(LeaseAnswer{keep.request, keep.lease, kept ? Settings{}.lease : milliseconds(0)});
    });
  } else if (auto* transaction = std::get_if<Transact>(&action)) {
    transact(node, *transaction);
  } else if (auto* validate = std::get_if<Validate>(&action)) {
    Validated answer{validate->number, validate->digest, {}, {}};
    const auto found = documents_.find({validate->number, validate->digest});
    if (found == documents_.end()) return;
    answer.summary = found->second.summary;
    if (found->second.refused_by.contains(node.name)) answer.refusal = "it is not liked here";
    queue_.after(within(milliseconds(500)), [this, &node, life = node.life, answer] {
      if (node.life != life) return;
      if (answer.refusal.empty()) validated_[{node.name, node.instance, answer.number, answer.digest}] = true;
      feed(node, answer);
    });
  } else if (auto* wish = std::get_if<Publish>(&action)) {
    publish(node, *wish);
  } else if (auto* check = std::get_if<Check>(&action)) {
    if (quiet_) ++quiet_actions_;
    std::set<std::string> checks(check->backends.begin(), check->backends.end());
    for (const std::string& backend : checks) {
      if (!node.checks.contains(backend)) look(node, backend, seconds(2));
    }
    node.checks = std::move(checks);
  } else if (auto* announce = std::get_if<Announce>(&action)) {
    if (quiet_) ++quiet_actions_;
    if (!node.forwards)
      node.routes = {};
    else if (announce->caught_up)
      node.routes = *announce;
    say(node, fmt::format("announces {}{}", fmt::join(announce->vips, " "),
                          announce->draining ? ", and drains" : ""));
  } else if (auto* handlers = std::get_if<HandleFragments>(&action)) {
    if (quiet_) ++quiet_actions_;
    node.handlers = *handlers;
  } else if (std::holds_alternative<Remember>(action)) {
    node.disk = node.state.memory;
  } else if (auto* beat = std::get_if<SendHeartbeat>(&action)) {
    for (auto& other : nodes_) {
      if (other->index == node.index || !other->runs || heartbeats_lost_ || chance(network_.loss_pct))
        continue;
      later(*other, delay(), beat->heartbeat);
      if (chance(network_.again_pct)) later(*other, delay(), beat->heartbeat);
    }
  } else if (auto* alarm = std::get_if<Alarm>(&action)) {
    say(node,
        fmt::format("ALARM {}: {}", alarm_name(alarm->kind), alarm->text.empty() ? "over" : alarm->text));
  } else if (auto* told = std::get_if<Say>(&action)) {
    say(node, told->text);
  }
}

void Simulation::transact(Node& node, const Transact& transaction) {
  if (trace_) say(node, fmt::format("asks for #{}:{}", transaction.request, told(transaction)));
  for (const Put& put : transaction.puts) {
    if (const auto* next = std::get_if<StateRecord>(put.value.get())) check_state(node, *next);
  }
  ask_store(node, [this, &node, transaction](const Member&) -> std::optional<Event> {
    if (!quorum_) return std::nullopt;
    std::map<Key, uint64_t> before;
    if (const auto* active = store_.record<ActiveRecord>(Key{KeyKind::kActive}))
      before[Key{KeyKind::kActive}] = active->number;
    const bool done = store_.transact(transaction);
    if (trace_)
      say(node, fmt::format("#{} is {}", transaction.request,
                            done ? fmt::format("done at {}", store_.revision()) : "refused"));
    if (done) {
      ++result_.commits;
      check_commit(transaction, before);
      committed();
    }
    return Event(
        TransactDone{transaction.request, done ? Outcome::kDone : Outcome::kRefused, store_.revision()});
  });
}

void Simulation::committed() {
  for (auto& node : nodes_) {
    if (node->watching.id != 0) pump(*node, delay());
  }
}

void Simulation::pump(Node& node, Virtual delay) {
  if (node.watching.pumping) return;
  node.watching.pumping = true;
  queue_.after(delay, [this, &node, life = node.life] {
    if (node.life != life) return;
    node.watching.pumping = false;
    deliver_changes(node);
  });
}

void Simulation::deliver_changes(Node& node) {
  Watching& watching = node.watching;
  if (watching.id == 0) return;
  const Member& member = members_[node.member];
  const int64_t revision = member.stuck ? member.stuck->revision : store_.revision();
  if (revision < watching.next) {
    if (member.stuck) pump(node, milliseconds(500));
    return;
  }
  if (!connected(node, node.member)) return pump(node, milliseconds(500));
  if (chance(network_.loss_pct) && chance(10)) {  // the connection goes
    feed(node, WatchEnded{std::exchange(watching.id, 0)});
    return;
  }
  Changed changed{watching.id, revision, {}};
  if (!store_.changes(watching.next, revision, changed.entries)) {
    feed(node, WatchEnded{std::exchange(watching.id, 0)});
    return;
  }
  watching.next = revision + 1;
  if (changed.entries.size() > 1 && chance(20)) {  // a message for a part, of one transaction perhaps
    const auto middle =
        changed.entries.begin() + 1 + random_.below(static_cast<uint32_t>(changed.entries.size() - 1));
    Changed part{changed.watch, std::prev(middle)->changed, {changed.entries.begin(), middle}};
    changed.entries.erase(changed.entries.begin(), middle);
    feed(node, part);
  }
  feed(node, changed);
}

void Simulation::publish(Node& node, const Publish& wish) {
  if (quiet_) ++quiet_actions_;
  if (wish.id.revision == 0 || !wish.summary || !wish.state)
    return violated(node.name + " publishes no table");
  // Of a store that was emptied, revisions are numbered anew.
  const TableId& last = node.published;
  const bool same_life =
      last.fence.epoch == wish.id.fence.epoch && node.disk.floors.epoch == last.fence.epoch;
  if (same_life &&
      (wish.id.revision < std::min(last.revision, node.active_there) || wish.id.state < last.state))
    violated(fmt::format("{} goes back from revision {} and state {} to {} and {}", node.name, last.revision,
                         last.state, wish.id.revision, wish.id.state));
  node.active_there = node.state.view.active_number();
  node.published = wish.id;
  const bool refused = faulty_ && chance(1);
  queue_.after(within(milliseconds(50)), [this, &node, life = node.life, wish, refused] {
    if (node.life != life || !node.forwards) return;
    if (refused) return feed(node, TableRefused{wish.id, "the data plane is in a bad mood"});
    node.live = wish.id;
    node.live_summary = wish.summary;
    node.live_digest = table_of(wish.id, *wish.summary, *wish.state);
    check_table(node);
    feed(node, TableLive{node.live, node.live_digest});
  });
}

void Simulation::set_forwards(Node& node, bool forwards) {
  if (node.forwards != forwards) say(node, forwards ? "its data plane comes" : "its data plane dies");
  node.forwards = forwards;
  if (!forwards) node.routes = {};
  if (forwards) later(node, milliseconds(10), HandlersLive{node.handlers});
  if (forwards) later(node, milliseconds(10), TableLive{node.live, node.live_digest});
  later(node, milliseconds(10), Serving{forwards});
}

void Simulation::look(Node& node, const std::string& backend, Virtual most, bool may_start_slowly) {
  queue_.after(within(most), [this, &node, life = node.life, backend, may_start_slowly] {
    if (node.life != life || !node.checks.contains(backend)) return;
    const bool up = backends_[backend] && !node.unreachable.contains(backend);
    if (!up) return feed(node, Observed{backend, HealthState::kDown});
    const bool slowly = may_start_slowly && chance(30);
    const uint32_t eighths = slowly ? random_.below(Standing::kFullWeight) : Standing::kFullWeight;
    feed(node, Observed{backend, {HealthState::kUp, false, eighths}});
    if (slowly) look(node, backend, seconds(8), false);
  });
}

void Simulation::look_everywhere(const std::string& backend) {
  for (auto& node : nodes_) {
    if (node->checks.contains(backend)) look(*node, backend, seconds(2));
  }
}

}  // namespace linimo::fleet
