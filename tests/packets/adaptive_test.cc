// Tracking that adapts: a flow of a settled slot needs no entry, one of an unsettled slot has one, and no
// flow is moved by a change of the table as long as its backend lives.

#include <random>

#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

class Adaptive : public Tracking {
 protected:
  static constexpr uint32_t kWindow_s = kTcpIdle_s;

  static Configuration adaptive(Configuration configuration) {
    for (ServiceSpec& service : configuration.snapshot.services) {
      if (service.tracking == LINIMO_TRACKING_FULL) service.tracking = LINIMO_TRACKING_ADAPTIVE;
    }
    return configuration;
  }

  /// What the control plane publishes when the pool's table changes: the slots that differ are learning.
  static Configuration changed(const Configuration& before, const Configuration& after,
                               uint16_t learning_s = kWindow_s) {
    Configuration result = adaptive(after);
    const PoolSpec was = many(before);
    PoolSpec& pool = many(result);
    const auto address = [](const PoolTable& table, linimo_slot slot) { return table.members[slot].address; };
    for (uint32_t s = 0; s < pool.table->slots.size(); ++s) {
      const linimo_slot then = was.table->slots[s];
      const linimo_slot now = pool.table->slots[s];
      const Address base = address(*was.table, then);
      if (now == LINIMO_NO_BACKEND || base != address(*pool.table, now))
        pool.unsettled.push_back({s, base, learning_s});
    }
    return result;
  }

  void SetUp() override {
    Tracking::SetUp();
    before_ = choices(three_up_);
    after_ = choices(all_up_);
    moved_ = moved(before_, after_);
    engine.forget_configuration();
    begin(adaptive(three_up_));
  }

  bool will_move(size_t flow) const { return std::ranges::find(moved_, flow) != moved_.end(); }
  uint64_t entries() { return engine.flow_table().entries; }

  Choices before_, after_;
  std::vector<size_t> moved_;
};

TEST_P(Adaptive, WhileAllSlotsAreSettledNoFlowTakesAnEntry) {
  for (size_t flow = 0; flow < kFlows; ++flow) {
    EXPECT_EQ(sent_to(packet(flow, kSyn)), before_[flow]);
    EXPECT_EQ(sent_to(packet(flow)), before_[flow]);
  }
  EXPECT_EQ(entries(), 0);
}

TEST_P(Adaptive, AFlowKeepsItsBackendWhenTheTableChanges) {
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  engine.apply(changed(three_up_, all_up_));
  for (size_t flow = 0; flow < kFlows; ++flow) {
    EXPECT_EQ(sent_to(packet(flow), 1), before_[flow]);
    EXPECT_EQ(sent_to(packet(flow, kAck | kFin), 2), before_[flow]);
  }
  EXPECT_EQ(entries(), moved_.size()) << "flows of slots that did not change need none";
}

TEST_P(Adaptive, AFlowThatBeginsAfterTheChangeGoesWhereTheTableSaysAndStays) {
  sent_to(packet(0));
  engine.apply(changed(three_up_, all_up_));
  for (const size_t flow : moved_) {
    EXPECT_EQ(sent_to(packet(flow, kSyn), 1), after_[flow]);
    EXPECT_EQ(sent_to(packet(flow), 2), after_[flow]);
  }
}

TEST_P(Adaptive, AFlowThatWasLearnedStaysAfterItsSlotHasLearned) {
  for (const size_t flow : moved_) sent_to(packet(flow, kSyn));
  engine.apply(changed(three_up_, all_up_));
  for (uint32_t at = 600; at <= 6 * kWindow_s; at += 600) {
    engine.pass_time(kStart_ms + at * uint64_t{1000});
    for (const size_t flow : moved_) EXPECT_EQ(sent_to(packet(flow), at), before_[flow]);
  }
}

TEST_P(Adaptive, WhenASlotHasLearnedAFlowThatNobodyKnowsFollowsTheTable) {
  sent_to(packet(0));
  engine.apply(changed(three_up_, all_up_));
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s - 1), before_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[1]), kWindow_s + 1), after_[moved_[1]]);
}

TEST_P(Adaptive, ASlotSettlesWhenNothingHasDeviatedForAWindow) {
  sent_to(packet(0));
  engine.apply(changed(three_up_, all_up_));
  const auto takes_an_entry = [&](size_t flow, uint32_t at) {
    engine.forget_flows();
    sent_to(packet(flow, kSyn), at);
    return entries() != 0;
  };
  engine.pass_time(kStart_ms + (kWindow_s - 1) * uint64_t{1000});
  for (const size_t flow : moved_) EXPECT_TRUE(takes_an_entry(flow, kWindow_s - 1));
  engine.pass_time(kStart_ms + (kWindow_s + 2) * uint64_t{1000});
  for (const size_t flow : moved_) EXPECT_FALSE(takes_an_entry(flow, kWindow_s + 2));
}

TEST_P(Adaptive, AFlowThatDeviatesKeepsItsSlotUnsettled) {
  sent_to(packet(moved_[0], kSyn));
  engine.apply(changed(three_up_, all_up_));
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s - 10), before_[moved_[0]]);
  engine.pass_time(kStart_ms + (kWindow_s + 2) * uint64_t{1000});
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s + 3), before_[moved_[0]]);
  engine.pass_time(kStart_ms + (2 * kWindow_s + 5) * uint64_t{1000});
  engine.forget_flows();
  sent_to(packet(moved_[0], kSyn), 2 * kWindow_s + 6);
  EXPECT_EQ(entries(), 0) << "settled by now";
}

TEST_P(Adaptive, ANextGenerationGoesOnWhereTheOneBeforeWas) {
  sent_to(packet(moved_[0], kSyn));
  engine.apply(changed(three_up_, all_up_));
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s - 10), before_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[1], kSyn), kWindow_s + 2), after_[moved_[1]]);
  engine.pass_time(kStart_ms + (kWindow_s + 2) * uint64_t{1000});
  engine.apply(adaptive(all_up_));  // for it, no slot is learning any more
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s + 3), before_[moved_[0]]);
}

TEST_P(Adaptive, ASlotThatChangesBackIsStillUnsettled) {
  sent_to(packet(0));
  engine.apply(changed(three_up_, all_up_));
  for (const size_t flow : moved_) EXPECT_EQ(sent_to(packet(flow, kSyn), 1), after_[flow]);
  engine.apply(adaptive(with({3}, LINIMO_BACKEND_DRAINING)));
  for (const size_t flow : moved_) EXPECT_EQ(sent_to(packet(flow), 2), after_[flow]);
}

TEST_P(Adaptive, ABaseThatIsDownGetsNothing) {
  sent_to(packet(0));
  engine.apply(changed(three_up_, all_up_));
  Configuration down = changed(three_up_, all_up_);
  for (BackendSpec& backend : many(down).backends) {
    if (backend.address == before_[moved_[0]]) backend.state = LINIMO_BACKEND_DOWN;
  }
  PoolSpec& pool = many(down);
  pool.table = make_pool_table(pool.backends, static_cast<uint32_t>(pool.table->slots.size()));
  engine.apply(down);
  EXPECT_NE(sent_to(packet(moved_[0]), 1), before_[moved_[0]]);
}

TEST_P(Adaptive, ADrainingBackendKeepsItsFlowsAndBeginsNone) {
  engine.forget_configuration();
  begin(adaptive(all_up_));
  for (size_t flow = 0; flow < kFlows; ++flow) sent_to(packet(flow, kSyn));
  const Configuration draining = with({0, 1}, LINIMO_BACKEND_DRAINING);
  engine.apply(changed(all_up_, draining));
  for (size_t flow = 0; flow < kFlows; ++flow) EXPECT_EQ(sent_to(packet(flow), 1), after_[flow]);
  for (size_t flow = kFlows; flow < 2 * kFlows; ++flow) {
    const Address address = sent_to(packet(flow, kSyn), 1);
    EXPECT_TRUE(address == backend(2) || address == backend(3)) << address.to_string();
  }
}

// Less than a flow may be silent, and than makes a SYN a new connection's, so that it does not matter that
// the engines' seconds differ.
TEST_P(Adaptive, AnyOrderOfPacketsAndChangesComesOutAsInTheOtherEngine) {
  constexpr size_t kPackets = 4000, kBetweenChanges = 500, kStrangers = 300;
  const std::vector<Configuration> stages = {
      adaptive(three_up_), changed(three_up_, all_up_),
      changed(all_up_, with({0, 1}, LINIMO_BACKEND_DRAINING)),
      changed(with({0, 1}, LINIMO_BACKEND_DRAINING), with({0}, LINIMO_BACKEND_DOWN)), adaptive(all_up_)};
  const auto sent = [&](Engine& through) {
    std::mt19937 random(20160316);
    through.forget_configuration();
    std::vector<Result> results;
    for (size_t i = 0; i < kPackets; ++i) {
      if (i % kBetweenChanges == 0) through.apply(stages[i / kBetweenChanges % stages.size()]);
      if (i == 0) through.forget_flows();
      constexpr uint8_t kFlags[] = {kSyn, kAck, kAck, kAck | kFin, kRst, kRst | kAck, kSyn | kAck};
      const size_t flow = random() % kStrangers;
      results.push_back(through.run(packet(flow, kFlags[random() % std::size(kFlags)]), kStart_ms + i / 2));
    }
    return results;
  };
  Engine& other = GetParam().engine == "Dpdk" ? static_cast<Engine&>(xdp_engine()) : dpdk_engine();
  const std::vector<Result> here = sent(engine), there = sent(other);
  for (size_t i = 0; i < kPackets; ++i) ASSERT_EQ(here[i].bytes, there[i].bytes) << "packet " << i;
  EXPECT_EQ(engine.flow_table().entries, other.flow_table().entries);
}

// What nodes tell each other: exactly the flows that a node which never heard of them would get wrong.
class Sharing : public Adaptive {
 protected:
  void SetUp() override {
    Adaptive::SetUp();
    engine.forget_configuration();
    begin(shared(adaptive(three_up_)));
    sent_to(packet(0));
    changed_ = shared(changed(three_up_, all_up_));
    engine.apply(changed_);
  }

  static Configuration shared(Configuration configuration) {
    for (ServiceSpec& service : configuration.snapshot.services)
      service.shares_flows = service.tracking == LINIMO_TRACKING_ADAPTIVE;
    return configuration;
  }

  std::vector<linimo_flow_word> words(uint32_t at) {
    return engine.words_to_tell(kStart_ms + at * uint64_t{1000});
  }
  void hear(std::span<const linimo_flow_word> told, uint32_t at) {
    engine.hear(told, kStart_ms + at * uint64_t{1000});
  }

  /// Flows that began after the change, where the table says; what was said of them.
  std::vector<linimo_flow_word> begun(uint32_t at) {
    for (const size_t flow : moved_) {
      EXPECT_EQ(sent_to(packet(flow, kSyn), at), after_[flow]);
      EXPECT_EQ(sent_to(packet(flow), at), after_[flow]);
    }
    return words(at);
  }

  /// The engine is another node's now, by the same tables.
  void become_another_node() {
    engine.forget_flows();
    engine.forget_configuration();
    engine.apply(shared(adaptive(three_up_)));
    engine.apply(changed_);
  }

  Configuration changed_;
};

TEST_P(Sharing, WhatBeganAfterTheChangeIsToldOfAtItsSecondPacket) {
  EXPECT_EQ(sent_to(packet(moved_[0], kSyn), 1), after_[moved_[0]]);
  EXPECT_EQ(words(1).size(), 0) << "a flood would make as many words as it likes";
  EXPECT_EQ(sent_to(packet(moved_[0], kSyn), 1), after_[moved_[0]]);
  EXPECT_EQ(words(1).size(), 0) << "nor does a SYN that comes again";
  EXPECT_EQ(sent_to(packet(moved_[0]), 1), after_[moved_[0]]);
  EXPECT_EQ(words(1).size(), 1);
  EXPECT_EQ(sent_to(packet(moved_[0]), 2), after_[moved_[0]]);
  EXPECT_EQ(words(2).size(), 0) << "once is enough";
}

TEST_P(Sharing, WhatAStrangerGetsRightIsNotToldOf) {
  for (size_t flow = 0; flow < kFlows; ++flow) {
    EXPECT_EQ(sent_to(packet(flow), 1), before_[flow]);
    EXPECT_EQ(sent_to(packet(flow), 2), before_[flow]);
  }
  EXPECT_EQ(words(2).size(), 0);
}

TEST_P(Sharing, BeforeTheBaseCeasesToCountWhatFollowsItIsToldOf) {
  EXPECT_EQ(sent_to(packet(moved_[0]), 1), before_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s * 2 / 3 - 20), before_[moved_[0]]);
  EXPECT_EQ(words(kWindow_s * 2 / 3 - 20).size(), 0);
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s * 2 / 3 + 20), before_[moved_[0]]);
  EXPECT_EQ(words(kWindow_s * 2 / 3 + 20).size(), 1);
}

TEST_P(Sharing, AFlowIsToldOfAgainAfterAThirdOfItsIdleTimeout) {
  EXPECT_EQ(begun(1).size(), moved_.size());
  for (const uint32_t at : {kTcpIdle_s / 3 - 10, kTcpIdle_s / 3 + 10})
    EXPECT_EQ(sent_to(packet(moved_[0]), at), after_[moved_[0]]);
  EXPECT_EQ(words(kTcpIdle_s / 3 + 10).size(), 1);
}

TEST_P(Sharing, WhoWasToldSendsTheFlowWhereItGoes) {
  const auto told = begun(1);
  become_another_node();
  EXPECT_EQ(sent_to(packet(moved_[0]), 2), before_[moved_[0]]) << "as a stranger would";
  hear(told, 2);
  for (const size_t flow : std::span(moved_).subspan(1)) {
    EXPECT_EQ(sent_to(packet(flow), 3), after_[flow]);
    EXPECT_EQ(sent_to(packet(flow), 4), after_[flow]);
  }
  EXPECT_EQ(words(4).size(), 0) << "all have heard of them";
}

TEST_P(Sharing, AFlowThatHasEndedIsForgotten) {
  const auto told = begun(1);
  become_another_node();
  hear(told, 2);
  EXPECT_EQ(sent_to(packet(moved_[0]), 3), after_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[0], kAck | kFin), 4), after_[moved_[0]]);
  const auto ended = words(4);
  ASSERT_EQ(ended.size(), 1);
  EXPECT_EQ(ended[0].ended, 1);
  EXPECT_EQ(sent_to(packet(moved_[0], kAck | kFin), 5), after_[moved_[0]]);
  EXPECT_EQ(words(5).size(), 0) << "once is enough";
  become_another_node();
  hear(told, 5);
  hear(ended, 5);
  EXPECT_EQ(sent_to(packet(moved_[0]), 10 + kClosing_s), before_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[1]), 10 + kClosing_s), after_[moved_[1]]);
}

TEST_P(Sharing, WhatIsHeardOfIsForgottenInTime) {
  const auto told = begun(1);
  engine.apply(changed_ = shared(changed(three_up_, all_up_, LINIMO_MAX_IDLE_TIMEOUT_S)));
  become_another_node();
  hear(told, 2);
  EXPECT_EQ(sent_to(packet(moved_[0]), kTcpIdle_s * 4 / 3 - 20), after_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[1]), kTcpIdle_s * 4 / 3 + 20), before_[moved_[1]]);
}

TEST_P(Sharing, WhatGoesElsewhereThanTheTableSaysKeepsItsSlotUnsettled) {
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s - 10), before_[moved_[0]]);
  EXPECT_EQ(sent_to(packet(moved_[0]), kWindow_s - 9), before_[moved_[0]]);
  const auto told = words(kWindow_s - 9);
  ASSERT_EQ(told.size(), 1);
  become_another_node();
  hear(told, 2 * kWindow_s - 30);
  engine.pass_time(kStart_ms + (2 * kWindow_s + 30) * uint64_t{1000});
  EXPECT_EQ(sent_to(packet(moved_[0]), 2 * kWindow_s + 31), before_[moved_[0]]);
}

TEST_P(Sharing, ABackendThatIsGoneIsAsUnknown) {
  auto told = begun(1);
  become_another_node();
  for (linimo_flow_word& word : told) word.backend = LINIMO_MAX_BACKEND_IDS - 1;
  hear(told, 2);
  EXPECT_EQ(sent_to(packet(moved_[0]), 3), before_[moved_[0]]);
}

TEST_P(Sharing, WordsThatMeanNothingAreNothing) {
  auto told = begun(1);
  become_another_node();
  for (linimo_flow_word& word : told) word.backend = ~0U;
  hear(told, 2);
  for (linimo_flow_word& word : told) word = {word.hash, 0, 0xffff, 0xff, 0xff};
  hear(told, 2);
  EXPECT_EQ(sent_to(packet(moved_[0]), 3), before_[moved_[0]]);
}

TEST_P(Sharing, ServicesThatDoNotShareSayAndHearNothing) {
  const auto told = begun(1);
  become_another_node();
  engine.apply(changed(three_up_, all_up_));
  EXPECT_EQ(begun(2).size(), 0);
  engine.forget_flows();
  hear(told, 3);
  EXPECT_EQ(sent_to(packet(moved_[0]), 3), before_[moved_[0]]);
}

TEST_P(Sharing, TheOtherEngineUnderstands) {
  const auto told = begun(1);
  Engine& other = GetParam().engine == "Dpdk" ? static_cast<Engine&>(xdp_engine()) : dpdk_engine();
  if (&other == &engine) GTEST_SKIP();
  other.forget_flows();
  other.forget_configuration();
  other.apply(shared(adaptive(three_up_)));
  other.apply(changed_);
  other.hear(told, kStart_ms + 2000);
  for (const size_t flow : moved_) {
    const Bytes here = engine.run(packet(flow), kStart_ms + 2000).bytes;
    EXPECT_EQ(other.run(packet(flow), kStart_ms + 2000).bytes, here);
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Sharing, testing::ValuesIn(kTrackedBy), tracked_by);
INSTANTIATE_TEST_SUITE_P(Engines, Adaptive, testing::ValuesIn(kTrackedBy), tracked_by);

}  // namespace
}  // namespace linimo::tests
