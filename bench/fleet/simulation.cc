#include "bench/fleet/simulation.h"

#include <algorithm>
#include <chrono>

#include "bench/fleet/fleet.h"
#include "bench/fleet/traffic.h"

namespace linimo::fleet {
namespace {

constexpr uint32_t kStepsPerSecond = 1000 / kStep_ms;
constexpr uint32_t kSampleEvery_s = 60;
constexpr size_t kAhead = 8;  // events whose memory is asked for

class Simulation {
 public:
  Simulation(const Settings& settings, const Scenario& scenario)
      : settings_(settings),
        fleet_(settings, scenario),
        traffic_(settings),
        attackers_(settings.seed ^ 0x61747461636b),
        steps_(size_t{settings.duration_s} * kStepsPerSecond),
        next_arrival_ms_(traffic_.next_arrival_ms()) {
    result_.scenario = scenario;
    for (auto& load : load_) load.resize(settings.backends);
  }

  Result run(std::atomic<uint32_t>& done);

 private:
  Packet packet_of(const Connection& connection) const {
    return {.hash = connection.hash,
            .slot = slot_of(connection.hash, settings_.table_size),
            .begins = connection.last_ms == Connection::kNotBegun,
            .ends = false,
            .alone = false};
  }
  void arrive(uint32_t step);
  void send_due(uint32_t step);
  void attack(uint32_t now_ms);
  bool send(Connection& connection, uint32_t now_ms);
  void reach(Connection& connection, Mode mode, uint32_t backend, uint32_t now_ms);
  void schedule(uint32_t index, uint32_t step, uint32_t at_ms);
  void give_back(uint32_t index);
  void sample(uint32_t now_s);
  double imbalance(Mode mode) const;
  void finish();

  const Settings& settings_;
  Fleet fleet_;
  Traffic traffic_;
  Random attackers_;
  std::vector<Connection> connections_;
  std::vector<uint32_t> free_;                // places in connections_
  std::vector<std::vector<uint32_t>> steps_;  // connections that send something in each
  std::vector<uint32_t> due_;
  double next_arrival_ms_;
  ByMode<std::vector<uint32_t>> load_;  // connections of each backend
  Result result_;
};

Result Simulation::run(std::atomic<uint32_t>& done) {
  const auto began = std::chrono::steady_clock::now();
  for (uint32_t step = 0; step < steps_.size(); ++step) {
    const uint32_t now_ms = step * kStep_ms, now_s = now_ms / 1000;
    fleet_.advance(now_ms);
    arrive(step);
    send_due(step);
    attack(now_ms);
    if (step % kStepsPerSecond != 0) continue;
    fleet_.keep_house(now_s);
    if (now_s % kSampleEvery_s == 0) sample(now_s);
    done.store(now_s, std::memory_order_relaxed);
  }
  finish();
  done.store(settings_.duration_s, std::memory_order_relaxed);
  result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return std::move(result_);
}

void Simulation::arrive(uint32_t step) {
  const uint32_t now_ms = step * kStep_ms;
  for (; next_arrival_ms_ < now_ms + kStep_ms; next_arrival_ms_ = traffic_.next_arrival_ms()) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(connections_.size()));
      connections_.emplace_back();
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    connections_[index] = traffic_.begin(now_ms);
    ++result_.connections;
    steps_[step].push_back(index);
  }
}

void Simulation::send_due(uint32_t step) {
  const uint32_t now_ms = step * kStep_ms;
  due_.clear();
  due_.swap(steps_[step]);
  std::vector<uint32_t>().swap(steps_[step]);
  for (size_t i = 0; i < due_.size(); ++i) {
    if (i + 3 * kAhead < due_.size()) __builtin_prefetch(&connections_[due_[i + 3 * kAhead]]);
    if (i + 2 * kAhead < due_.size()) {
      const Connection& soon = connections_[due_[i + 2 * kAhead]];
      fleet_.node_for(soon.spread).prefetch_slot(packet_of(soon));
    }
    if (i + kAhead < due_.size()) {
      const Connection& soon = connections_[due_[i + kAhead]];
      fleet_.node_for(soon.spread).prefetch_target(packet_of(soon));
    }
    Connection& connection = connections_[due_[i]];
    if (send(connection, now_ms)) {
      schedule(due_[i], step, traffic_.next_packet_ms(connection, now_ms));
    } else {
      give_back(due_[i]);
    }
  }
}

/// A packet, under all ways of tracking; whether another one follows.
bool Simulation::send(Connection& connection, uint32_t now_ms) {
  const bool ends = now_ms + kStep_ms > connection.end_ms;
  if (ends && connection.vanishes) return false;
  Packet packet = packet_of(connection);
  packet.ends = ends;
  Node& node = fleet_.node_for(connection.spread);
  ++result_.packets;
  for (const Mode mode : kAllModes) {
    if ((connection.goes_on >> mode & 1) != 0)
      reach(connection, mode, node.choose(mode, packet, now_ms / 1000), now_ms);
  }
  connection.last_ms = now_ms;
  return connection.goes_on != 0 && !ends;
}

void Simulation::reach(Connection& connection, Mode mode, uint32_t backend, uint32_t now_ms) {
  Outcome& outcome = result_.outcomes[mode];
  if (connection.last_ms == Connection::kNotBegun) {
    if (fleet_.lives(backend)) {
      connection.backend[mode] = static_cast<uint16_t>(backend);
      ++load_[mode][backend];
    } else {
      connection.goes_on &= ~(1U << mode);
      ++outcome.lost;
    }
    return;
  }
  const uint32_t before = connection.backend[mode];
  const bool lives = fleet_.lives_since(before, connection.begin_ms);
  if (lives && backend == before) return;
  if (lives) {
    ++outcome.broken;
    if (now_ms - connection.last_ms > settings_.idle_timeout_s * 1000) ++outcome.broken_silent;
  } else {
    ++outcome.lost;
  }
  connection.goes_on &= ~(1U << mode);
  --load_[mode][before];
}

void Simulation::schedule(uint32_t index, uint32_t step, uint32_t at_ms) {
  const uint32_t at_step = std::max(at_ms / kStep_ms, step + 1);
  if (at_step < steps_.size()) steps_[at_step].push_back(index);  // else it outlives the simulation
}

void Simulation::give_back(uint32_t index) {
  const Connection& connection = connections_[index];
  for (const Mode mode : kAllModes) {
    if ((connection.goes_on >> mode & 1) != 0) --load_[mode][connection.backend[mode]];
  }
  free_.push_back(index);
}

void Simulation::attack(uint32_t now_ms) {
  const Attack& attack = result_.scenario.attack;
  if (now_ms < attack.from_s * 1000 || now_ms >= attack.until_s * 1000) return;
  for (uint32_t i = 0; i < attack.packets_per_s / kStepsPerSecond; ++i) {
    const uint64_t hash = attackers_.next();
    const Packet packet{.hash = hash,
                        .slot = slot_of(hash, settings_.table_size),
                        .begins = i % 2 == 0,
                        .ends = false,
                        .alone = true};
    Node& node = fleet_.node_for(static_cast<uint32_t>(attackers_.next()));
    for (const Mode mode : kAllModes) node.choose(mode, packet, now_ms / 1000);
    ++result_.attack_packets;
  }
}

/// The most loaded backend's connections over its fair share, among those that take connections.
double Simulation::imbalance(Mode mode) const {
  double connections = 0, weights = 0, most = 0;
  for (uint32_t b = 0; b < settings_.backends; ++b) {
    const BackendSpec& backend = fleet_.pool()[b];
    if (!backend.takes_slots()) continue;
    const double load = load_[mode][b];
    connections += load;
    weights += backend.weight;
    most = std::max(most, load / backend.weight);
  }
  return connections == 0 ? 1 : most * weights / connections;
}

void Simulation::sample(uint32_t now_s) {
  Sample sample{.at_s = now_s,
                .connections = connections_.size() - free_.size(),
                .unsettled = fleet_.unsettled(),
                .entries = {},
                .broken = {}};
  for (const Mode mode : kAllModes) {
    Outcome& outcome = result_.outcomes[mode];
    sample.entries[mode] = fleet_.entries(mode);
    sample.broken[mode] = outcome.broken;
    if (now_s < settings_.warm_up_s()) continue;
    const double now = imbalance(mode);
    outcome.imbalance += now;  // the sum, until `finish`
    outcome.most_imbalance = std::max(outcome.most_imbalance, now);
    outcome.most_entries = std::max(outcome.most_entries, sample.entries[mode]);
    outcome.entries += static_cast<double>(sample.entries[mode]);
  }
  if (now_s >= settings_.warm_up_s()) result_.unsettled += sample.unsettled;
  result_.samples.push_back(sample);
}

void Simulation::finish() {
  const auto counted = static_cast<double>(
      std::count_if(result_.samples.begin(), result_.samples.end(),
                    [&](const Sample& sample) { return sample.at_s >= settings_.warm_up_s(); }));
  for (const Mode mode : kAllModes) {
    Outcome& outcome = result_.outcomes[mode];
    outcome.entries /= counted;
    outcome.imbalance /= counted;
    outcome.asked = fleet_.counts(mode).asked;
    outcome.unstored = fleet_.counts(mode).unstored;
  }
  result_.unsettled /= counted;
  result_.generations = fleet_.generations();
  result_.telling = fleet_.telling();
}

}  // namespace

Result simulate(const Settings& settings, const Scenario& scenario, std::atomic<uint32_t>& done) {
  return Simulation(settings, scenario).run(done);
}

}  // namespace linimo::fleet
