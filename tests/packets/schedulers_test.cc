// Schedulers that keep state: who gets a new flow, and who everything else.

#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

class Schedulers : public Tracking {
 protected:
  static Configuration by(linimo_scheduler scheduler, Configuration configuration) {
    for (ServiceSpec& service : configuration.snapshot.services) {
      if (service.tracking == LINIMO_TRACKING_FULL) service.scheduler = scheduler;
    }
    return configuration;
  }

  static Configuration weighted(std::initializer_list<uint32_t> weights) {
    Configuration configuration = case_file().configuration;
    PoolSpec& pool = many(configuration);
    size_t index = 0;
    for (const uint32_t weight : weights) pool.backends[index++].weight = weight;
    pool.table = make_pool_table(pool.backends, static_cast<uint32_t>(pool.table->slots.size()));
    return configuration;
  }

  /// Begins flows [first, first + count) and says how many went to each backend.
  std::map<Address, uint32_t> spread(size_t first, size_t count, const char* kind = "flows_spread_tracked") {
    std::map<Address, uint32_t> counts;
    for (size_t flow = first; flow < first + count; ++flow) ++counts[sent_to(packet(flow, kSyn, kind))];
    return counts;
  }
};

TEST_P(Schedulers, RoundRobinTakesBackendsInTurn) {
  for (const char* kind : {"flows_spread_tracked", kUdp}) {
    begin(by(LINIMO_SCHEDULER_ROUND_ROBIN, all_up_));
    Choices first;
    for (size_t flow = 0; flow < 4; ++flow) first.push_back(sent_to(packet(flow, kSyn, kind)));
    for (size_t flow = 4; flow < kFlows; ++flow)
      EXPECT_EQ(sent_to(packet(flow, kSyn, kind)), first[flow % 4]) << flow;
    std::sort(first.begin(), first.end());
    EXPECT_EQ(std::unique(first.begin(), first.end()) - first.begin(), 4);
  }
}

TEST_P(Schedulers, AFlowStaysWithItsBackend) {
  for (const auto scheduler : {LINIMO_SCHEDULER_ROUND_ROBIN, LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN,
                               LINIMO_SCHEDULER_LEAST_CONNECTIONS}) {
    begin(by(scheduler, three_up_));
    Choices chosen;
    for (size_t flow = 0; flow < kFlows; ++flow) chosen.push_back(sent_to(packet(flow, kSyn)));
    engine.apply(by(scheduler, all_up_));
    for (size_t flow = 0; flow < kFlows; ++flow) {
      EXPECT_EQ(sent_to(packet(flow, kSyn), 1), chosen[flow]) << "the SYN again";
      EXPECT_EQ(sent_to(packet(flow), 2), chosen[flow]);
      EXPECT_EQ(sent_to(packet(flow, kAck | kFin), 3), chosen[flow]);
    }
  }
}

// The one answer that all nodes share.
TEST_P(Schedulers, WhatBeginsNoFlowGoesWhereTheTableSays) {
  for (const auto scheduler : {LINIMO_SCHEDULER_ROUND_ROBIN, LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN,
                               LINIMO_SCHEDULER_LEAST_CONNECTIONS}) {
    const Choices table = choices(all_up_);
    begin(by(scheduler, all_up_));
    for (const uint8_t flags : {kAck, kFin, kRst, uint8_t{kSyn | kAck}}) {
      engine.forget_flows();
      for (size_t flow = 0; flow < kFlows; ++flow)
        EXPECT_EQ(sent_to(packet(flow, flags)), table[flow]) << int{flags};
    }
  }
}

TEST_P(Schedulers, OnlyBackendsThatAreUpAndHaveWeightTakePart) {
  const Configuration some[] = {with({1}, LINIMO_BACKEND_DOWN), with({1}, LINIMO_BACKEND_DRAINING),
                                weighted({1, 0, 1, 1})};
  for (const Configuration& configuration : some) {
    for (const auto scheduler : {LINIMO_SCHEDULER_ROUND_ROBIN, LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN,
                                 LINIMO_SCHEDULER_LEAST_CONNECTIONS}) {
      begin(by(scheduler, configuration));
      const auto counts = spread(0, kFlows);
      EXPECT_EQ(counts.size(), 3U);
      EXPECT_FALSE(counts.contains(backend(1)));
    }
  }
  begin(by(LINIMO_SCHEDULER_ROUND_ROBIN, with({0, 1, 2, 3}, LINIMO_BACKEND_DOWN)));
  EXPECT_EQ(engine.run(packet(0, kSyn), kStart_ms).counter, LINIMO_OUTCOME_no_backend);
}

TEST_P(Schedulers, ABackendThatIsDownLosesItsFlows) {
  begin(by(LINIMO_SCHEDULER_ROUND_ROBIN, all_up_));
  Choices chosen;
  for (size_t flow = 0; flow < kFlows; ++flow) chosen.push_back(sent_to(packet(flow, kSyn)));
  const Configuration down = with({0}, LINIMO_BACKEND_DOWN);
  engine.apply(by(LINIMO_SCHEDULER_ROUND_ROBIN, down));
  for (size_t flow = 0; flow < kFlows; ++flow) {
    const Address now = sent_to(packet(flow), 1);
    EXPECT_TRUE(chosen[flow] == backend(0) ? now != backend(0) : now == chosen[flow]);
    EXPECT_EQ(sent_to(packet(flow), 2), now) << "the entry follows";
  }
}

TEST_P(Schedulers, WeightedRoundRobinHasTheSharesAtOnce) {
  begin(by(LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN, weighted({1, 2, 3, 4})));
  for (size_t run = 0; run < 10; ++run) {
    const auto counts = spread(run * 20, 20);
    // A stretch of turns is the difference of two beginnings, each no further than 2 from the shares.
    for (uint32_t i = 0; i < 4; ++i) EXPECT_NEAR(counts.at(backend(i)), 2.0 * (i + 1), 4) << "run " << run;
  }
  engine.forget_flows();
  const auto counts = spread(0, 1000);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_NEAR(counts.at(backend(i)), 100.0 * (i + 1), 4);
}

TEST_P(Schedulers, LeastConnectionsGivesToWhoHasFewer) {
  begin(by(LINIMO_SCHEDULER_LEAST_CONNECTIONS, with({2, 3}, LINIMO_BACKEND_DRAINING)));
  spread(0, 100);
  engine.apply(by(LINIMO_SCHEDULER_LEAST_CONNECTIONS, with({1, 3}, LINIMO_BACKEND_DRAINING)));
  EXPECT_EQ(spread(100, 40), (std::map<Address, uint32_t>{{backend(2), 40}})) << "backend 0 has about 50";

  // FINs are heard: who has closed most gets all, though the entries are still there.
  for (size_t flow = 0; flow < 140; ++flow) {
    if (sent_to(packet(flow), 1) == backend(0)) sent_to(packet(flow, kFin | kAck), 2);
  }
  EXPECT_EQ(spread(140, 30), (std::map<Address, uint32_t>{{backend(0), 30}}));
}

TEST_P(Schedulers, AFlowThatIsRedirectedCountsAsItsNewBackends) {
  begin(by(LINIMO_SCHEDULER_LEAST_CONNECTIONS, with({2, 3}, LINIMO_BACKEND_DOWN)));
  const auto before = spread(0, 100);
  ASSERT_EQ(before.size(), 2U);
  engine.apply(by(LINIMO_SCHEDULER_LEAST_CONNECTIONS, with({0, 2, 3}, LINIMO_BACKEND_DOWN)));
  for (size_t flow = 0; flow < 100; ++flow) EXPECT_EQ(sent_to(packet(flow), 1), backend(1));
  engine.apply(by(LINIMO_SCHEDULER_LEAST_CONNECTIONS, with({2, 3}, LINIMO_BACKEND_DOWN)));
  EXPECT_EQ(spread(100, 80), (std::map<Address, uint32_t>{{backend(0), 80}})) << "backend 1 has a hundred";
}

// Of all cases the steps that leave nothing to choose: one backend, or none, or one that a QUIC packet names.
// Each scheduler runs every case.
class AllCases : public Schedulers {};

TEST_P(AllCases, HaveTheirOneAnswerWithEveryScheduler) {
  size_t steps = 0;
  for (const auto scheduler : {LINIMO_SCHEDULER_ROUND_ROBIN, LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN,
                               LINIMO_SCHEDULER_LEAST_CONNECTIONS}) {
    std::string applied;  // publishing takes the kernel a while
    for (const Case& from : case_file().cases) {
      if (from.name.find(family()) == std::string::npos) continue;
      if (applied != from.configuration) engine.apply(by(scheduler, case_file().configuration_of(from)));
      applied = from.configuration;
      engine.forget_flows();
      for (const Step& step : from.steps) {
        if (step.settles) {
          EXPECT_EQ(difference_from(step, engine.pass_time(kStart_ms)), "") << from.name;
          continue;
        }
        const Result result = engine.run(step.frame, kStart_ms);
        if (step.possible.size() > 1) continue;
        EXPECT_EQ(difference_from(step, result), "") << from.name;
        ++steps;
      }
    }
  }
  EXPECT_GT(steps, 1000U);
}

TEST_P(Schedulers, WhatFindsNoPlaceGoesWhereTheTableSays) {
  constexpr size_t kMany = 10'000;
  engine.make_room_for(64);
  begin(by(LINIMO_SCHEDULER_ROUND_ROBIN, all_up_));
  for (size_t flow = 0; flow < kMany; ++flow) sent_to(packet(flow, kSyn));
  const uint64_t entries = engine.flow_table().entries;
  size_t elsewhere = 0;
  Choices by_table;
  for (size_t flow = 0; flow < kMany; ++flow) by_table.push_back(sent_to(packet(flow, kSyn)));
  begin(all_up_);
  for (size_t flow = 0; flow < kMany; ++flow) elsewhere += sent_to(packet(flow, kAck)) != by_table[flow];
  EXPECT_GT(elsewhere, 0U) << "those that are stored";
  EXPECT_LE(elsewhere, entries);
  engine.make_room_for(Engine::kUsualFlows);
}

INSTANTIATE_TEST_SUITE_P(Engines, Schedulers, testing::ValuesIn(kTrackedBy), tracked_by);
INSTANTIATE_TEST_SUITE_P(Engines, AllCases, testing::ValuesIn(not_traced()), tracked_by);

}  // namespace
}  // namespace linimo::tests
