// The simulation of a fleet, at a size that takes a moment: what must come out whatever the traffic.

#include <algorithm>
#include <atomic>
#include <set>

#include <gtest/gtest.h>

#include "bench/fleet/hashing.h"
#include "bench/fleet/simulation.h"

namespace linimo::fleet {
namespace {

Settings small() {
  Settings settings;
  settings.connections = 20'000;
  settings.nodes = 4;
  settings.backends = 50;
  settings.table_size = 4099;
  settings.duration_s = 2400;
  settings.idle_timeout_s = 300;
  settings.flows_per_node = 8192;
  return settings;
}

Result run(const std::string& name, const Settings& settings = small()) {
  const auto scenarios = all_scenarios(settings);
  const auto found = std::find_if(scenarios.begin(), scenarios.end(),
                                  [&](const Scenario& scenario) { return scenario.name == name; });
  std::atomic<uint32_t> done;
  return simulate(settings, *found, done);
}

TEST(FleetSimulation, NothingBreaksWhileNothingChanges) {
  const Result result = run("quiet");
  EXPECT_NEAR(static_cast<double>(result.connections), 20'000, 500);
  EXPECT_GT(result.packets, 3 * result.connections);
  for (const Outcome& outcome : result.outcomes) {
    EXPECT_EQ(outcome.broken, 0U);
    EXPECT_EQ(outcome.lost, 0U);
  }
  EXPECT_EQ(result.outcomes[kFull].asked, result.packets);
  EXPECT_GT(result.outcomes[kFull].entries, 500);
  EXPECT_EQ(result.outcomes[kAdaptive].asked, 0U);
  EXPECT_EQ(result.outcomes[kAdaptive].most_entries, 0U);
}

TEST(FleetSimulation, TrackingSavesAllButTheLongSilentFromARestart) {
  const Result result = run("restart");
  EXPECT_GT(result.outcomes[kOff].broken, 200U);
  for (const Mode mode : {kFull, kAdaptive}) {
    const Outcome& outcome = result.outcomes[mode];
    EXPECT_EQ(outcome.broken, outcome.broken_silent) << kModeNames[mode];
    EXPECT_LT(outcome.broken, result.outcomes[kOff].broken / 10) << kModeNames[mode];
    EXPECT_GT(outcome.lost, 0U) << kModeNames[mode];
  }
  EXPECT_LE(result.outcomes[kAdaptive].broken, result.outcomes[kFull].broken);
  EXPECT_LT(result.outcomes[kAdaptive].entries, result.outcomes[kFull].entries);
}

// Over full tracking's tables an attack washes; adaptive tracking's hold the flows of unsettled slots alone.
TEST(FleetSimulation, AnAttackFillsTheTablesOfFullTracking) {
  const Result result = run("attack");
  EXPECT_GT(result.attack_packets, 4 * 8192U);
  EXPECT_GT(result.outcomes[kFull].most_entries, 3 * 8192U);
  EXPECT_LT(result.outcomes[kAdaptive].most_entries, result.outcomes[kFull].most_entries);
}

// A flow that moves to another node is unknown there. What helps is to know where flows were before the
// change.
TEST(FleetSimulation, NodesThatComeAndGoBreakWhatNobodyElseKnows) {
  const uint64_t alone = run("restart").outcomes[kFull].broken;
  for (const std::string name : {"nodes", "nodes, modulo"}) {
    const Result result = run(name);
    EXPECT_GT(result.outcomes[kFull].broken, 2 * alone) << name;
    EXPECT_LT(result.outcomes[kAdaptive].broken, result.outcomes[kFull].broken) << name;
    EXPECT_LT(result.outcomes[kFull].broken, result.outcomes[kOff].broken) << name;
  }
}

// Who is told of what a stranger would get wrong loses almost none of them. A window must be long beside the
// silences of flows: who says nothing for a third of it is not told of in time.
TEST(FleetSimulation, WhatAStrangerWouldGetWrongIsShared) {
  Settings settings = small();
  settings.connections = 30'000;
  settings.nodes = 8;
  settings.backends = 100;
  settings.duration_s = 7200;
  settings.idle_timeout_s = 900;
  Settings deaf = settings;
  deaf.telling_lost = 1000;
  EXPECT_EQ(run("quiet", settings).telling.words, 0U);
  for (const std::string name : {"nodes, modulo", "nodes, drains"}) {
    const Result result = run(name, settings);
    EXPECT_LT(result.outcomes[kShared].broken, result.outcomes[kFull].broken / 4) << name;
    EXPECT_GT(run(name, deaf).outcomes[kShared].broken, 2 * result.outcomes[kShared].broken) << name;
    EXPECT_LT(result.telling.words, result.connections) << name;
  }
  EXPECT_GT(run("attack").telling.untold, 0U) << "a flood makes no words";
}

TEST(FleetSimulation, TheSameSeedGivesTheSameResult) {
  const Result once = run("all"), again = run("all");
  Settings other = small();
  other.seed = 2;
  const Result different = run("all", other);
  EXPECT_NE(once.packets, different.packets);
  EXPECT_EQ(once.packets, again.packets);
  for (const Mode mode : kAllModes) {
    EXPECT_EQ(once.outcomes[mode].broken, again.outcomes[mode].broken);
    EXPECT_EQ(once.outcomes[mode].asked, again.outcomes[mode].asked);
    EXPECT_EQ(once.outcomes[mode].most_entries, again.outcomes[mode].most_entries);
  }
}

TEST(Ecmp, ResilientHashingMovesOnlyWhatItMust) {
  Ecmp before(8, Ecmp::Kind::kResilient), after(8, Ecmp::Kind::kResilient);
  after.lose(3);
  std::set<uint32_t> used;
  for (uint32_t hash = 0; hash < 10'000; ++hash) {
    used.insert(before.node_of(hash));
    EXPECT_NE(after.node_of(hash), 3U);
    if (before.node_of(hash) == 3) continue;
    EXPECT_EQ(after.node_of(hash), before.node_of(hash));
  }
  EXPECT_EQ(used.size(), 8U);
  after.gain(3);
  for (uint32_t hash = 0; hash < 10'000; ++hash) EXPECT_EQ(after.node_of(hash), before.node_of(hash));
}

}  // namespace
}  // namespace linimo::fleet
