// Connection tracking, seen from outside: where a flow goes when tables change and time passes.

#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

TEST_P(Tracking, AFlowKeepsItsBackendWhenTheTableChanges) {
  const Choices before = choices(three_up_);
  const Choices after = choices(all_up_);
  moved(before, after);
  begin(three_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow, kSyn)), before[flow]);
  engine.apply(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) {
    EXPECT_EQ(sent_to(packet(flow), 1), before[flow]);
    EXPECT_EQ(sent_to(packet(flow, kAck | kFin), 2), before[flow]);
  }
}

TEST_P(Tracking, ABackendThatIsDownLosesItsFlowsAndTheEntryFollows) {
  const Choices before = choices(all_up_);
  const Configuration first_down = with({0}, LINIMO_BACKEND_DOWN);
  const Choices without = choices(first_down);
  begin(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  engine.apply(first_down);
  const auto wanted = [&](size_t flow) { return before[flow] == backend(0) ? without[flow] : before[flow]; };
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow), 1), wanted(flow));
  engine.apply(all_up_);  // and does not go back when the backend does
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow), 2), wanted(flow));
  EXPECT_GE(std::count(before.begin(), before.end(), backend(0)), 4);
}

TEST_P(Tracking, ABackendThatIsRemovedLosesItsFlows) {
  const Choices before = choices(all_up_);
  Configuration removed = all_up_;
  PoolSpec& pool = many(removed);
  pool.backends.erase(pool.backends.begin());
  pool.table = make_pool_table(pool.backends, static_cast<uint32_t>(pool.table->slots.size()));
  const Choices without = choices(removed);
  begin(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  engine.apply(removed);
  for (size_t flow = 0; flow < kFlows; ++flow) {
    EXPECT_EQ(sent_to(packet(flow), 1), before[flow] == backend(0) ? without[flow] : before[flow]);
  }
}

TEST_P(Tracking, ADrainingBackendKeepsItsFlowsAndGetsNoNewOnes) {
  const Choices before = choices(all_up_);
  begin(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  engine.apply(with({0, 1}, LINIMO_BACKEND_DRAINING));
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow), 1), before[flow]);
  for (size_t flow = kFlows; flow < 2 * kFlows; ++flow) {
    const Address address = sent_to(packet(flow, kSyn), 1);
    EXPECT_TRUE(address == backend(2) || address == backend(3)) << address.to_string();
  }
}

TEST_P(Tracking, WhenAllDrainTrackedFlowsLiveAndNewOnesHaveNoBackend) {
  const Choices before = choices(all_up_);
  begin(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  engine.apply(with({0, 1, 2, 3}, LINIMO_BACKEND_DRAINING));
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow), 1), before[flow]);
  EXPECT_EQ(engine.run(packet(kFlows, kSyn), kStart_ms).counter, LINIMO_OUTCOME_no_backend);
  engine.apply(with({0, 1, 2, 3}, LINIMO_BACKEND_DOWN));
  EXPECT_EQ(engine.run(packet(0), kStart_ms).counter, LINIMO_OUTCOME_no_backend);
}

TEST_P(Tracking, AServiceThatMovesToAnotherPoolTakesItsFlowsAlong) {
  begin(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  Configuration elsewhere = all_up_;
  for (ServiceSpec& service : elsewhere.snapshot.services) {
    if (elsewhere.snapshot.pools[service.pool].name == "many") service.pool = 0;
  }
  engine.apply(elsewhere);
  const Address only = elsewhere.snapshot.pools[0].backends[0].address;
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow), 1), only);
}

TEST_P(Tracking, AResetMakesNoEntry) {
  const Choices before = choices(three_up_);
  const Choices after = choices(all_up_);
  const auto flows = moved(before, after);
  begin(three_up_);
  for (const size_t flow : flows) EXPECT_EQ(sent_to(packet(flow, kRst)), before[flow]);
  for (const size_t flow : flows) EXPECT_EQ(sent_to(packet(flow, kRst | kAck)), before[flow]);
  engine.apply(all_up_);
  for (const size_t flow : flows) EXPECT_EQ(sent_to(packet(flow), 1), after[flow]);
}

TEST_P(Tracking, AResetOnATrackedFlowNeitherEndsNorProlongsIt) {
  const Choices before = choices(three_up_);
  const Choices after = choices(all_up_);
  const auto flows = moved(before, after);
  begin(three_up_);
  for (const size_t flow : {flows[0], flows[1]}) sent_to(packet(flow, kSyn));
  engine.apply(all_up_);
  EXPECT_EQ(sent_to(packet(flows[0], kRst), 10), before[flows[0]]);
  EXPECT_EQ(sent_to(packet(flows[0]), kTcpIdle_s - 10), before[flows[0]]);
  EXPECT_EQ(sent_to(packet(flows[1], kRst), kTcpIdle_s - 1), before[flows[1]]);
  EXPECT_EQ(sent_to(packet(flows[1]), kTcpIdle_s + 2), after[flows[1]]);
}

// A second is the clock's grain, so the moment itself is left alone: just before it and just behind.
TEST_P(Tracking, AnEntryExpiresWhenItsFlowHasBeenIdle) {
  for (const auto& [kind, idle_s] :
       {std::pair("flows_spread_tracked", kTcpIdle_s), std::pair(kUdp, kUdpIdle_s)}) {
    const Choices before = choices(three_up_, kind);
    const Choices after = choices(all_up_, kind);
    const auto flows = moved(before, after);
    begin(three_up_);
    for (const size_t flow : {flows[0], flows[1], flows[2]}) sent_to(packet(flow, kSyn, kind));
    engine.apply(all_up_);
    EXPECT_EQ(sent_to(packet(flows[2], kAck, kind), idle_s - 10), before[flows[2]]);
    EXPECT_EQ(sent_to(packet(flows[0], kAck, kind), idle_s - 1), before[flows[0]]);
    EXPECT_EQ(sent_to(packet(flows[1], kAck, kind), idle_s + 2), after[flows[1]]);
    EXPECT_EQ(sent_to(packet(flows[2], kAck, kind), 2 * idle_s - 11), before[flows[2]])
        << "prolonged by its packet";
  }
}

TEST_P(Tracking, AFinShortensTheEntry) {
  const Choices before = choices(three_up_);
  const Choices after = choices(all_up_);
  const auto flows = moved(before, after);
  begin(three_up_);
  for (const size_t flow : {flows[0], flows[1], flows[2], flows[3]}) sent_to(packet(flow, kSyn));
  for (const size_t flow : {flows[0], flows[1], flows[2], flows[3]}) sent_to(packet(flow), 2);
  for (const size_t flow : {flows[0], flows[1], flows[2]}) sent_to(packet(flow, kFin | kAck), 10);
  engine.apply(all_up_);
  EXPECT_EQ(sent_to(packet(flows[2]), 10 + 50), before[flows[2]]);
  EXPECT_EQ(sent_to(packet(flows[0]), 10 + kClosing_s - 1), before[flows[0]]);
  EXPECT_EQ(sent_to(packet(flows[1]), 10 + kClosing_s + 2), after[flows[1]]);
  EXPECT_EQ(sent_to(packet(flows[3]), 10 + kClosing_s + 2), before[flows[3]]) << "had no FIN";
  EXPECT_EQ(sent_to(packet(flows[2]), 10 + 50 + kClosing_s - 1), before[flows[2]])
      << "60 s after its last packet";
  EXPECT_EQ(sent_to(packet(flows[2]), 10 + 50 + 2 * kClosing_s + 1), after[flows[2]]) << "still closing";
}

// A client may use a port again as soon as its connection is over for it: after FIN, or after RST, which is
// not noted, so that silence has to tell. What begins then is a new flow, and a draining backend gets none.
TEST_P(Tracking, ANewConnectionFromAnOldPortLeavesADrainingBackend) {
  const Choices before = choices(all_up_);
  const Configuration draining = with({0}, LINIMO_BACKEND_DRAINING);
  const Choices after = choices(draining);
  std::vector<size_t> flows;
  for (const size_t flow : moved(before, after)) {
    if (before[flow] == backend(0)) flows.push_back(flow);
  }
  ASSERT_GE(flows.size(), 3U);
  begin(all_up_);
  for (const size_t flow : flows) sent_to(packet(flow, kSyn));
  sent_to(packet(flows[0], kFin | kAck), 10);
  sent_to(packet(flows[1]), 10);
  engine.apply(draining);
  EXPECT_EQ(sent_to(packet(flows[0], kAck), 10), before[flows[0]]) << "the last ACK";
  EXPECT_EQ(sent_to(packet(flows[0], kSyn), 10), after[flows[0]]) << "after FIN, at once";
  EXPECT_EQ(sent_to(packet(flows[0]), 10), after[flows[0]]);
  EXPECT_EQ(sent_to(packet(flows[1], kRst), 11), before[flows[1]]) << "RST only looks up";
  EXPECT_EQ(sent_to(packet(flows[1], kSyn), 11), before[flows[1]]) << "a SYN on a flow in use may be forged";
  EXPECT_EQ(sent_to(packet(flows[1], kSyn | kAck), 20), before[flows[1]]) << "begins nothing";
  EXPECT_EQ(sent_to(packet(flows[1], kRst), 22), before[flows[1]]);
  EXPECT_EQ(sent_to(packet(flows[1], kSyn), 25), after[flows[1]]) << "after RST, 5 s later";
  EXPECT_EQ(sent_to(packet(flows[1]), 26), after[flows[1]]);
  EXPECT_EQ(sent_to(packet(flows[2]), 30), before[flows[2]]) << "a connection that lives stays";
  EXPECT_EQ(sent_to(packet(flows[0]), 10 + kClosing_s + 5), after[flows[0]]) << "open again";
  EXPECT_EQ(engine.flow_table().entries, flows.size()) << "one entry a flow";
}

// What a drain waits for: connections that live, also those that the client has closed on its side alone.
// What has ended keeps its entry, since its last packets may be sent again.
TEST_P(Tracking, WhatHasEndedIsNotWaitedFor) {
  const Choices chosen = choices(all_up_);
  std::vector<size_t> flows;
  for (size_t flow = 0; flow < kFlows; ++flow) {
    if (chosen[flow] == backend(0)) flows.push_back(flow);
  }
  ASSERT_GE(flows.size(), 4U);
  const uint32_t id = many(all_up_).backends[0].id;
  const auto left = [&](uint32_t after_s) {
    return engine.flows_left(id, kStart_ms + uint64_t{after_s} * 1000);
  };
  begin(all_up_);
  for (const size_t flow : flows) sent_to(packet(flow, kSyn));
  engine.apply(with({0}, LINIMO_BACKEND_DRAINING));
  for (const size_t flow : flows) sent_to(packet(flow), 5);
  EXPECT_EQ(left(6), flows.size());
  sent_to(packet(flows[0], kFin | kAck), 10);
  sent_to(packet(flows[1], kFin | kAck), 10);
  sent_to(packet(flows[2], kRst), 10);
  EXPECT_EQ(left(12), flows.size()) << "a last packet may have been lost";
  sent_to(packet(flows[1]), 18);
  EXPECT_EQ(left(24), flows.size() - 1) << "closed, and silent since";
  EXPECT_NE(sent_to(packet(flows[2], kSyn), 24), backend(0));
  EXPECT_EQ(left(25), flows.size() - 2) << "another connection, elsewhere";
  EXPECT_EQ(left(36), flows.size() - 3) << "closed on one side, and now on the other";
  EXPECT_EQ(sent_to(packet(flows[0]), 40), backend(0)) << "sent again";
}

TEST_P(Tracking, ANewConnectionFromAnOldPortFollowsABackendThatIsUp) {
  const Choices before = choices(three_up_);
  const Choices after = choices(all_up_);
  const auto flows = moved(before, after);
  begin(three_up_);
  for (const size_t flow : {flows[0], flows[1]}) {
    sent_to(packet(flow, kSyn));
    sent_to(packet(flow, kFin | kAck), 1);
  }
  engine.apply(all_up_);
  EXPECT_EQ(sent_to(packet(flows[0], kSyn), 20), before[flows[0]]);
  EXPECT_EQ(sent_to(packet(flows[1]), 20), before[flows[1]]);
  EXPECT_EQ(sent_to(packet(flows[0]), 20 + kClosing_s + 5), before[flows[0]]) << "not closing any more";
  EXPECT_EQ(sent_to(packet(flows[1]), 20 + kClosing_s + 5), after[flows[1]])
      << "closing: its last ACK is no SYN";
}

TEST_P(Tracking, ASynOnALiveEntryFollowsIt) {
  const Choices before = choices(three_up_);
  const Choices after = choices(all_up_);
  const auto flows = moved(before, after);
  begin(three_up_);
  for (const size_t flow : flows) sent_to(packet(flow, kSyn));
  engine.apply(all_up_);
  for (const size_t flow : flows) {
    EXPECT_EQ(sent_to(packet(flow, kSyn), 5), before[flow]);
    EXPECT_EQ(sent_to(packet(flow), 6), before[flow]) << "rewritten by the SYN";
  }
}

// A client that hears nothing asks again after a second, and after two more; what comes later may be the next
// connection from that port.
TEST_P(Tracking, ASynThatComesAgainIsCountedOfItsBackend) {
  begin(all_up_);
  const std::vector<BackendSpec> backends = many(all_up_).backends;
  const auto count = [&](const Address& address) {
    const auto found = std::ranges::find(backends, address, &BackendSpec::address);
    return found == backends.end() ? 0 : engine.repeated_syns(found->id);
  };
  for (size_t flow = 0; flow < 8; ++flow) {
    const Address address = sent_to(packet(flow, kSyn));
    const uint64_t before = count(address);
    sent_to(packet(flow, kSyn), 1);
    sent_to(packet(flow, kSyn), 3);
    EXPECT_EQ(count(address) - before, 2U);
    sent_to(packet(flow, kAck), 4);
    sent_to(packet(flow, kSyn | kAck), 4);
    sent_to(packet(flow, kFin | kAck), 5);
    sent_to(packet(flow, kSyn), 6);
    EXPECT_EQ(count(address) - before, 2U) << "of a connection that has ended, a SYN begins the next";
    sent_to(packet(flow, kSyn), 6 + 5);
    EXPECT_EQ(count(address) - before, 2U) << "too long after";
    engine.forget_flows();
  }
  const Address address = sent_to(packet(0, kSyn, kUntracked));
  const uint64_t before = count(address);
  EXPECT_EQ(sent_to(packet(0, kSyn, kUntracked), 1), address);
  EXPECT_EQ(count(address), before) << "nothing is known of what is not tracked";
}

TEST_P(Tracking, WithoutTrackingAFlowFollowsTheTable) {
  const Choices before = choices(three_up_, kUntracked);
  const Choices after = choices(all_up_, kUntracked);
  moved(before, after);
  begin(three_up_);
  for (size_t flow = 0; flow < kFlows; ++flow)
    EXPECT_EQ(sent_to(packet(flow, kSyn, kUntracked)), before[flow]);
  engine.apply(all_up_);
  for (size_t flow = 0; flow < kFlows; ++flow)
    EXPECT_EQ(sent_to(packet(flow, kAck, kUntracked), 1), after[flow]);
}

TEST_P(Tracking, AFullTableDropsNothing) {
  constexpr size_t kMany = 10'000;
  engine.make_room_for(64);
  begin(all_up_);
  const uint64_t unstored = engine.flow_table().unstored;
  for (size_t flow = 0; flow < kMany; ++flow) sent_to(packet(flow, kSyn));
  const FlowTable full = engine.flow_table();
  EXPECT_LE(full.entries, full.capacity);
  EXPECT_GE(full.unstored - unstored, kMany / 2);
  for (size_t flow = 0; flow < kMany; ++flow) {  // by now anyone may be displaced
    const Bytes frame = packet(flow);
    EXPECT_EQ(sent_to(frame, 10), sent_to(frame, 10));
  }
  engine.make_room_for(Engine::kUsualFlows);
}

INSTANTIATE_TEST_SUITE_P(Engines, Tracking, testing::ValuesIn(kTrackedBy), tracked_by);

}  // namespace
}  // namespace linimo::tests
