#include "tests/fleet/simulation.h"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

namespace linimo::fleet {
namespace {

constexpr uint64_t kMostSteps = 400'000;  // more is a fleet that spins
constexpr milliseconds kLeast{1};         // between two ticks

uint32_t fleet_size(Random& random) {
  const uint32_t lot = random.below(100);
  if (lot < 5) return 1;
  if (lot < 20) return 2;
  if (lot < 97) return 3 + random.below(6);
  return lot < 99 ? 9 + random.below(8) : 32;
}

}  // namespace

Simulation::Simulation(uint64_t seed, bool trace)
    : seed_(seed), trace_(trace), random_(seed * 0x9e3779b97f4a7c15 + 1), store_(Settings{}.lease) {
  const uint32_t count = fleet_size(random_);
  for (uint32_t i = 0; i < count; ++i) {
    auto node = std::make_unique<Node>();
    node->name = fmt::format("n{}", i);
    node->index = i;
    node->member = random_.below(kMembers);
    nodes_.push_back(std::move(node));
  }
  const uint32_t backends = 1 + random_.below(12);
  for (uint32_t i = 0; i < backends; ++i) backends_.emplace(fmt::format("p/b{}", i), !chance(20));
  const uint32_t vips = 1 + random_.below(2);
  for (uint32_t i = 0; i < vips; ++i) vips_.push_back(fmt::format("v{}", i));
  plan_faults();
}

Result Simulation::run() {
  const auto stop = [this] { return !result_.violation.empty(); };
  propose(true);
  for (auto& node : nodes_) {
    queue_.after(within(seconds(3)), [this, &node = *node] { start_node(node, true); });
  }
  for (int second = 1; second < 200; ++second) queue_.at(seconds(second), [this] { audit(); });
  const Virtual faults_end = seconds(20) + within(seconds(40));
  for (Virtual at = within(seconds(10)); at < faults_end; at += within(seconds(4)))
    queue_.at(at, [this] { fault(); });
  queue_.run_until(faults_end, stop);
  if (!stop()) mend_all();
  queue_.run_until(faults_end + seconds(60), stop);
  if (!stop()) check_agreement();
  quiet_ = true;
  quiet_from_ = store_.revision();
  queue_.run_until(faults_end + seconds(80), stop);
  if (!stop()) check_quiet();
  return result_;
}

void Simulation::mend_all() {
  say("all is mended");
  mend();
  if (went_back_) raise_epoch();
  propose(true);
}

void Simulation::propose(bool valid_everywhere) {
  const auto* newest = store_.record<RevisionRecord>(Key{KeyKind::kRevision});
  const auto* active = store_.record<ActiveRecord>(Key{KeyKind::kActive});
  const uint64_t number =
      1 + std::max(newest != nullptr ? newest->number : 0, active != nullptr ? active->number : 0);
  auto summary = std::make_shared<Summary>();
  summary->window = seconds(30);
  for (const auto& [name, up] : backends_) {
    if (valid_everywhere || chance(70)) summary->backends.push_back(name);
  }
  summary->vips = vips_;
  Documents documents{summary, {}};
  if (!valid_everywhere && chance(40))
    documents.refused_by.insert(nodes_[random_.below(static_cast<uint32_t>(nodes_.size()))]->name);
  const uint64_t digest = next_digest_++;
  documents_[{number, digest}] = documents;
  say(fmt::format("operator wishes for revision {}{}", number,
                  documents.refused_by.empty() ? "" : ", which one node refuses"));
  store_.put(Key{KeyKind::kRevision}, RevisionRecord{number, digest, "operator"});
  committed();
}

void Simulation::start_node(Node& node, bool forget) {
  if (node.runs) return;
  ++node.life;
  ++node.instance;
  node.runs = true;
  node.frozen = false;
  node.clock_stopped.reset();
  node.backlog.clear();
  node.watching = {};
  node.checks.clear();
  node.tick_at = Virtual(-1);
  node.published = {};
  node.active_there = 0;
  if (forget) node.disk = {};
  Settings settings;
  settings.node = node.name;
  settings.instance = node.instance;
  settings.tunnel = node.name;
  settings.heartbeat = seconds(nodes_.size() > 8 ? 10 : 2);
  node.state = start(std::move(settings), node.disk, clock(node));
  say(node, forget ? "starts, and knows nothing" : "starts");
  feed(node, Tick{});
  set_forwards(node, true);
}

void Simulation::stop_node(Node& node, bool machine) {
  say(node, machine ? "its machine dies" : "dies");
  ++node.life;
  node.runs = node.frozen = false;
  node.watching = {};
  if (!machine) return;
  node.forwards = false;
  node.handlers = {};
  node.live = {};
  node.live_summary = nullptr;
  node.routes = {};
}

void Simulation::freeze(Node& node, bool with_clock) {
  say(node, with_clock ? "freezes, and its clock" : "freezes");
  node.frozen = true;
  if (with_clock) node.clock_stopped = queue_.now();
}

void Simulation::thaw(Node& node) {
  if (!node.runs || !node.frozen) return;
  say(node, "thaws");
  node.frozen = false;
  if (node.clock_stopped) node.clock_offset -= queue_.now() - *node.clock_stopped;
  node.clock_stopped.reset();
  const std::vector<Event> backlog = std::move(node.backlog);
  node.backlog.clear();
  const uint32_t life = node.life;
  for (const Event& event : backlog) {
    if (node.life == life) feed(node, event);
  }
  feed(node, Tick{});
}

void Simulation::feed(Node& node, const Event& event) {
  if (!node.runs || !result_.violation.empty()) return;
  if (node.frozen) {
    if (!std::holds_alternative<Tick>(event)) node.backlog.push_back(event);
    return;
  }
  Actions actions = step(node.state, event, clock(node));
  if (++result_.steps > kMostSteps) return violated("the fleet spins");
  check_step(node);
  for (Action& action : actions) carry_out(node, action);
  tick(node);
}

void Simulation::later(Node& node, Virtual delay, Event event) {
  queue_.after(delay, [this, &node, life = node.life, event = std::move(event)] {
    if (node.life == life) feed(node, event);
  });
}

void Simulation::tick(Node& node) {
  const Virtual wake = next_wake(node.state).time_since_epoch() - node.clock_offset;
  const Virtual due = std::max<Virtual>(wake, queue_.now() + kLeast);
  if (node.tick_at > queue_.now() && node.tick_at <= due) return;  // one comes sooner
  node.tick_at = due;
  queue_.at(due, [this, &node, life = node.life, due] {
    if (node.life != life || node.tick_at != due) return;
    node.tick_at = Virtual(-1);
    if (next_wake(node.state) <= clock(node)) {
      feed(node, Tick{});
    } else {
      tick(node);
    }
  });
}

void Simulation::say(const std::string& text) {
  if (trace_) fmt::print("{:9.3f}  {}\n", std::chrono::duration<double>(queue_.now()).count(), text);
}

void Simulation::say(const Node& node, const std::string& text) {
  if (trace_) say(fmt::format("{}  {}", node.name, text));
}

}  // namespace linimo::fleet
