// One scenario, from the first connection to the last, under all ways of tracking at once.
//
// A connection is broken when a packet of it reaches another backend than those before, though its backend
// lives (is up or draining). It is lost when its backend has died; that is no balancer's fault. Either way it
// sends no more.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "bench/fleet/fleet.h"
#include "bench/fleet/scenario.h"
#include "bench/fleet/settings.h"

namespace linimo::fleet {

/// What became of the connections, under one way of tracking.
struct Outcome {
  uint64_t broken = 0;
  uint64_t broken_silent = 0;  // of these: had been silent for longer than the idle timeout
  uint64_t lost = 0;           // with their backend
  uint64_t asked = 0;          // packets that asked a connection table
  uint64_t unstored = 0;
  double entries = 0;  // of all nodes, on average
  uint64_t most_entries = 0;
  double imbalance = 0;  // connections of the most loaded backend over its fair share, on average
  double most_imbalance = 0;
};

/// A minute's state, for plots.
struct Sample {
  uint32_t at_s;
  uint64_t connections;  // that go on
  double unsettled;      // share of slots, over the nodes
  ByMode<uint64_t> entries;
  ByMode<uint64_t> broken;  // so far
};

struct Result {
  Scenario scenario;
  uint64_t connections = 0;  // that began
  uint64_t packets = 0;      // of them
  uint64_t attack_packets = 0;
  uint32_t generations = 0;
  double unsettled = 0;  // share of slots, on average
  Telling telling;
  ByMode<Outcome> outcomes;
  std::vector<Sample> samples;
  double seconds = 0;  // that it took
};

/// `done` goes up to `settings.duration_s`.
Result simulate(const Settings& settings, const Scenario& scenario, std::atomic<uint32_t>& done);

}  // namespace linimo::fleet
