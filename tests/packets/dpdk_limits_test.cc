// What the DPDK engine bounds by time and room, in virtual time; and what its workers learn from one another.

#include <algorithm>
#include <utility>

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"

namespace linimo::tests {
namespace {

constexpr uint64_t kHeldFor_ms = 2000;
constexpr size_t kHeldAtMost = 256;

const Case& case_named(const std::string& name) {
  const auto& cases = case_file().cases;
  const auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == name; });
  if (found == cases.end()) throw std::runtime_error("no case is called " + name);
  return *found;
}

class DpdkLimits : public testing::Test {
 protected:
  void SetUp() override { begin(case_file().configuration); }

  void begin(const Configuration& configuration) {
    engine.apply(configuration);
    engine.forget_flows();
  }

  DpdkEngine& engine = dpdk_engine();
};

TEST_F(DpdkLimits, AFragmentWithoutItsFirstIsGivenUpAfterTwoSeconds) {
  const Result early = engine.run(case_named("fragments_without_first_v4").steps.front().frame, kStart_ms);
  EXPECT_EQ(early.way, Left::Way::kHeld) << early.fault;
  EXPECT_TRUE(engine.pass_time(kStart_ms + kHeldFor_ms - 1).empty());
  const auto late = engine.pass_time(kStart_ms + kHeldFor_ms);
  ASSERT_EQ(late.size(), 1U);
  EXPECT_EQ(late.front().way, Left::Way::kDropped);
  EXPECT_EQ(late.front().counter, LINIMO_OUTCOME_fragment_unmatched);
  EXPECT_EQ(late.front().fault, "");
}

TEST_F(DpdkLimits, AFloodOfStraysHoldsWhatIsDeclaredAndNoMore) {
  constexpr size_t kStrays = 1000;
  Bytes stray = case_named("fragments_without_first_v4").steps.front().frame;
  size_t held = 0;
  size_t dropped = 0;
  for (size_t i = 0; i < kStrays; ++i) {
    stray[18] = static_cast<uint8_t>(i >> 8);  // the identification; the NIC vouches for the checksum
    stray[19] = static_cast<uint8_t>(i);
    const ByteView view = stray;
    const BurstResult result = engine.run_burst({&view, 1}, kStart_ms, RTE_MBUF_F_RX_IP_CKSUM_GOOD);
    ASSERT_EQ(result.fault, "");
    held += result.left.front().way == Left::Way::kHeld;
    dropped += result.counts[LINIMO_OUTCOME_fragment_unmatched];
  }
  EXPECT_EQ(held, kHeldAtMost);
  EXPECT_EQ(dropped, kStrays - kHeldAtMost);
  const Step& other = case_named("tcp_v4_ipip4").steps.front();
  EXPECT_EQ(difference_from(other, engine.run(other.frame, kStart_ms), nullptr), "");

  size_t given_up = 0;  // at most a burst at a time
  for (int rounds = 0; rounds < 4; ++rounds) given_up += engine.pass_time(kStart_ms + kHeldFor_ms).size();
  EXPECT_EQ(given_up, kHeldAtMost);
}

constexpr uint32_t kRate = 20;
// A quarter of the room is kept for those who have had less than a share; one alone gets all else, and his
// own.
constexpr uint32_t kRoomOfOne = kRate * 3 / 4;

TEST_F(DpdkLimits, RepliesOfEachKindAreLimitedByThemselves) {
  Configuration limited = case_file().configuration;
  limited.snapshot.reply_rate = kRate;
  begin(limited);
  struct Kind {
    const char* name;
    linimo_outcome reply;
  };
  uint64_t now_ms = kStart_ms + 1'000'000;  // all tokens are there, whatever ran before
  for (const auto& [name, reply] : {Kind{"echo_v4", LINIMO_OUTCOME_echo_reply},
                                    Kind{"too_big_first_fragment_small_ipip4", LINIMO_OUTCOME_too_big_reply},
                                    Kind{"reject_udp_first_fragment_v4", LINIMO_OUTCOME_reject_reply}}) {
    const Bytes& frame = case_named(name).steps.front().frame;
    for (uint32_t i = 0; i < kRoomOfOne; ++i) EXPECT_EQ(engine.run(frame, now_ms).counter, reply) << name;
    EXPECT_EQ(engine.run(frame, now_ms).counter, LINIMO_OUTCOME_rate_limited) << name;
    EXPECT_EQ(engine.run(frame, now_ms + 1000 / kRate).counter, reply)
        << name << ", a twentieth of a second later";
    EXPECT_EQ(engine.run(frame, now_ms + 1000 / kRate).counter, LINIMO_OUTCOME_rate_limited) << name;
  }
}

// One who asks as often as he can gets the whole rate in the long run, while nobody else asks.
TEST_F(DpdkLimits, ASourceAloneGetsTheWholeRate) {
  Configuration limited = case_file().configuration;
  limited.snapshot.reply_rate = kRate;
  begin(limited);
  const Bytes& frame = case_named("echo_v4").steps.front().frame;
  const uint64_t now_ms = kStart_ms + 2'000'000;
  uint32_t answered = 0;
  for (uint64_t passed = 0; passed < 10'000; passed += 5)
    answered += engine.run(frame, now_ms + passed).counter == LINIMO_OUTCOME_echo_reply;
  EXPECT_GE(answered, 10 * kRate);
  EXPECT_LE(answered, 11 * kRate);
}

/// The backend in an IPv4 tunnel's outer header.
Bytes backend_of(const Result& result) {
  EXPECT_GE(result.bytes.size(), 34U);
  return result.bytes.size() < 34 ? Bytes{} : Bytes(result.bytes.begin() + 30, result.bytes.begin() + 34);
}

// An ICMP error comes from a router, so its queue need not be that of the flow. A backend drains, so that the
// table would send its flows elsewhere: only who finds them tracked sends the error to it.
TEST_F(DpdkLimits, AnErrorFindsAFlowThatAnotherWorkerTracks) {
  Configuration draining = case_file().configuration;
  auto& pools = draining.snapshot.pools;
  PoolSpec& many =
      *std::find_if(pools.begin(), pools.end(), [](const PoolSpec& p) { return p.name == "many"; });
  many.backends[0].state = LINIMO_BACKEND_DRAINING;
  many.table = make_pool_table(many.backends, static_cast<uint32_t>(many.table->slots.size()));

  const Case& pairs = case_named("icmp_error_same_tracked_6_v4");  // an error, then a packet of its flow
  size_t moved = 0;
  for (size_t i = 0; i + 1 < pairs.steps.size(); i += 2) {
    const Bytes& error = pairs.steps[i].frame;
    begin(case_file().configuration);
    const Bytes tracked = backend_of(engine.run(pairs.steps[i + 1].frame, kStart_ms));
    engine.apply(draining);
    std::swap(engine.all_flows()[0].connections, engine.all_flows()[1].connections);
    const Result followed = engine.run(error, kStart_ms);
    EXPECT_EQ(followed.counter, LINIMO_OUTCOME_icmp_error);
    EXPECT_EQ(backend_of(followed), tracked);
    engine.forget_flows();
    moved += backend_of(engine.run(error, kStart_ms)) != tracked;
  }
  EXPECT_GE(moved, 3U) << "the table hardly changed: the test would show nothing";
}

// The table cannot tell where a scheduler that keeps state has sent a flow: other workers may.
TEST_F(DpdkLimits, AScheduledFlowIsFoundAtAnotherWorker) {
  Configuration in_turn = case_file().configuration;
  for (ServiceSpec& service : in_turn.snapshot.services) {
    if (service.tracking == LINIMO_TRACKING_FULL) service.scheduler = LINIMO_SCHEDULER_ROUND_ROBIN;
  }
  constexpr size_t kFlags = 14 + 20 + 13;
  size_t moved = 0;
  for (const Step& step : case_named("flows_spread_tracked_v4").steps) {
    Bytes syn = step.frame, ack = step.frame;
    syn[kFlags] = 0x02;
    ack[kFlags] = 0x10;
    begin(in_turn);
    const Bytes chosen = backend_of(engine.run(syn, kStart_ms));
    std::swap(engine.all_flows()[0].connections, engine.all_flows()[1].connections);
    for (const uint64_t later_ms : {0, 1000})
      EXPECT_EQ(backend_of(engine.run(ack, kStart_ms + later_ms)), chosen);
    engine.forget_flows();
    moved += backend_of(engine.run(ack, kStart_ms)) != chosen;
  }
  EXPECT_GE(moved, 3U) << "the table would have said the same: the test would show nothing";
}

TEST_F(DpdkLimits, AFragmentFindsItsFirstAtAnotherWorker) {
  const Case& in_order = case_named("fragments_in_order_v6_ipip4_17");
  engine.run(in_order.steps[0].frame, kStart_ms);
  std::swap(engine.all_flows()[0].fragments, engine.all_flows()[1].fragments);
  EXPECT_EQ(difference_from(in_order.steps[1], engine.run(in_order.steps[1].frame, kStart_ms), nullptr), "");
}

}  // namespace
}  // namespace linimo::tests
