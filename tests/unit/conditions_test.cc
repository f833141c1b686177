// Watched conditions in virtual time: nothing flaps, what is unknown takes nothing away, a node serves while
// one interface does.

#include "controlplane/conditions/conditions.h"

#include <gtest/gtest.h>

#include "controlplane/conditions/backend_ways.h"
#include "controlplane/conditions/watch.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using State = ConditionState;

class ConditionsTest : public testing::Test {
 protected:
  void tell(const char* name, const char* subject, State state) {
    conditions_.report({.name = name, .subject = subject, .state = state, .device = subject}, now_);
  }
  std::vector<std::string> after(milliseconds time) {
    now_ += time;
    std::vector<std::string> changed;
    for (const auto& change : conditions_.step(now_))
      changed.push_back(change.key.first + (change.condition.failed ? " fails" : " holds"));
    return changed;
  }
  std::vector<std::string> at_once() { return after(milliseconds(0)); }

  Conditions::Time now_{};
  Conditions conditions_;
};

using Changes = std::vector<std::string>;

TEST_F(ConditionsTest, ANodeServesWhileOneInterfaceDoes) {
  EXPECT_EQ(conditions_.serving(), (Serving{true, "", ""})) << "nothing is known: nothing is taken away";
  tell("carrier", "eth0", State::kHolds);
  tell("carrier", "eth1", State::kHolds);
  EXPECT_EQ(at_once(), Changes{}) << "what holds from the beginning is no change";
  EXPECT_EQ(conditions_.serving(), (Serving{true, "", "eth0"}));
  tell("carrier", "eth0", State::kFails);
  EXPECT_EQ(at_once(), Changes{"carrier fails"});
  EXPECT_EQ(conditions_.serving(), (Serving{true, "", "eth1"}))
      << "the other is left, and routes point there";
  tell("interface-present", "eth1", State::kFails);
  EXPECT_EQ(at_once(), Changes{"interface-present fails"});
  EXPECT_EQ(conditions_.serving(), (Serving{false, "carrier eth0; interface-present eth1", ""}));
}

TEST_F(ConditionsTest, WhatComesAndGoesStaysAway) {
  tell("carrier", "eth0", State::kFails);
  EXPECT_EQ(at_once(), Changes{"carrier fails"});
  for (int i = 0; i < 10; ++i) {
    tell("carrier", "eth0", State::kHolds);
    EXPECT_EQ(after(milliseconds(900)), Changes{});
    tell("carrier", "eth0", State::kFails);
    EXPECT_EQ(after(milliseconds(100)), Changes{});
    EXPECT_FALSE(conditions_.serving().serves);
  }
  tell("carrier", "eth0", State::kHolds);
  EXPECT_EQ(conditions_.next_step(), now_ + milliseconds(1000));
  EXPECT_EQ(after(milliseconds(1000)), Changes{"carrier holds"});
  EXPECT_TRUE(conditions_.serving().serves);
}

TEST_F(ConditionsTest, AMomentsFailureOfWhatMendsItselfIsNone) {
  tell("transmit-works", "eth0", State::kFails);
  EXPECT_EQ(after(milliseconds(900)), Changes{});
  tell("transmit-works", "eth0", State::kHolds);
  EXPECT_EQ(after(milliseconds(5000)), Changes{});
}

TEST_F(ConditionsTest, UnknownDecidesNothing) {
  tell("carrier", "eth0", State::kUnknown);
  tell("carrier", "eth1", State::kFails);
  EXPECT_EQ(after(milliseconds(60000)), Changes{"carrier fails"});
  EXPECT_TRUE(conditions_.serving().serves) << "of eth0 nobody knows that it fails";
  conditions_.lose_reports(now_);
  EXPECT_EQ(after(milliseconds(60000)), Changes{});
  EXPECT_EQ(conditions_.all().at({"carrier", "eth1"}).state, State::kUnknown);
  EXPECT_TRUE(conditions_.all().at({"carrier", "eth1"}).failed) << "what was decided stays until it is known";
}

TEST_F(ConditionsTest, ANewDataPlaneForgetsWhatItDoesNotTell) {
  tell("carrier", "eth0", State::kFails);
  tell("carrier", "eth1", State::kHolds);
  EXPECT_EQ(at_once(), Changes{"carrier fails"});
  conditions_.begin_reports();
  tell("carrier", "eth1", State::kHolds);
  EXPECT_EQ(at_once(), Changes{}) << "it is not done telling";
  conditions_.end_reports();
  EXPECT_EQ(at_once(), Changes{"carrier holds"});
  EXPECT_FALSE(conditions_.all().contains({"carrier", "eth0"}));
}

TEST_F(ConditionsTest, WhatIsNoLongerWatchedNoLongerFails) {
  tell("carrier", "eth0", State::kFails);
  EXPECT_EQ(at_once(), Changes{"carrier fails"});
  conditions_.report({.name = "carrier", .subject = "eth0", .watched = false}, now_);
  EXPECT_EQ(at_once(), Changes{"carrier holds"});
  EXPECT_TRUE(conditions_.serving().serves);
}

TEST_F(ConditionsTest, WhatDidNotFailIsForgottenWithoutAWord) {
  tell("carrier", "eth0", State::kHolds);
  tell("carrier", "eth1", State::kHolds);
  conditions_.set({.name = "tables-current", .subject = "", .state = State::kHolds}, now_);
  conditions_.report({.name = "carrier", .subject = "eth0", .watched = false}, now_);
  conditions_.report({.name = "carrier", .subject = "eth9", .watched = false}, now_);
  conditions_.report({.name = "tables-current", .subject = "", .watched = false}, now_);
  EXPECT_FALSE(conditions_.all().contains({"carrier", "eth0"}));
  EXPECT_TRUE(conditions_.all().contains({"tables-current", ""})) << "no data plane's to take away";
  conditions_.begin_reports();
  conditions_.end_reports();
  EXPECT_EQ(conditions_.all().size(), 1U);
  EXPECT_EQ(at_once(), Changes{});
}

TEST_F(ConditionsTest, TheNextStepIsTheEarliestThatIsDue) {
  EXPECT_EQ(conditions_.next_step(), std::nullopt);
  tell("transmit-works", "eth1", State::kFails);
  const auto first = conditions_.next_step();
  ASSERT_GT(first, now_);
  now_ += milliseconds(1);
  tell("transmit-works", "eth0", State::kFails);
  tell("transmit-works", "eth2", State::kFails);
  tell("transmit-works", "eth3", State::kHolds);
  EXPECT_EQ(conditions_.next_step(), first);
}

TEST_F(ConditionsTest, ANodeDoesNotServeWithoutWhatAllOfItNeeds) {
  tell("carrier", "eth0", State::kHolds);
  conditions_.set({.name = "of-the-node", .subject = "", .state = State::kFails, .evidence = "it says why"},
                  now_, ConditionScope::kNode);
  EXPECT_TRUE(conditions_.serving().serves) << "not before it counts";
  after(milliseconds(60000));
  EXPECT_EQ(conditions_.serving(), (Serving{false, "of-the-node: it says why", ""}));
}

TEST_F(ConditionsTest, OfAnInterfaceOneFailureIsNamed) {
  tell("interface-present", "eth0", State::kFails);
  tell("carrier", "eth0", State::kFails);
  EXPECT_EQ(at_once().size(), 2U);
  EXPECT_EQ(conditions_.serving(), (Serving{false, "carrier eth0", ""}));
}

TEST_F(ConditionsTest, AdviceTakesNothingAway) {
  tell("queues-served", "eth0", State::kFails);
  tell("of-a-newer-data-plane", "eth0", State::kFails);
  EXPECT_EQ(at_once().size(), 2U);
  EXPECT_TRUE(conditions_.serving().serves);
}

State alive(const Sights& sights, uint32_t silent_looks) {
  return own_conditions(sights, silent_looks).front().report.state;
}

TEST(OwnConditions, ADataPlaneIsSilentAfterSixLooks) {
  Sights sights;
  EXPECT_EQ(alive(sights, 0), State::kUnknown) << "not even tried";
  sights.loss = "No such file or directory";
  EXPECT_EQ(alive(sights, 0), State::kFails);
  sights.connected = true;
  EXPECT_EQ(alive(sights, 5), State::kHolds);
  EXPECT_EQ(alive(sights, 6), State::kFails);
}

TEST(OwnConditions, NoNewsOfADataPlaneThatHandsOverIsNoBadNews) {
  Sights sights{.handing_over = true, .engine = "dpdk", .loss = "the other side closed the connection"};
  EXPECT_EQ(alive(sights, 0), State::kUnknown);
  sights.connected = true;
  EXPECT_EQ(alive(sights, 6), State::kFails) << "but that of one that is connected and silent is";
  sights.connected = sights.handing_over = false;
  EXPECT_EQ(alive(sights, 0), State::kFails) << "nor does it last for ever";
}

TEST(OwnConditions, LargeTablesGiveADataPlaneMoreTime) {
  Sights sights;
  sights.connected = true;
  sights.tables_bytes = size_t{16} << 20;
  EXPECT_EQ(alive(sights, 6), State::kFails) << "usual ones none";
  sights.tables_bytes = size_t{1} << 30;
  EXPECT_EQ(alive(sights, 21), State::kHolds);
  EXPECT_EQ(alive(sights, 22), State::kFails);
}

TEST(OwnConditions, OnlyADpdkDataPlaneTakesItsVipsAlong) {
  EXPECT_EQ(own_conditions({.engine = "dpdk"}, 0).front().scope, ConditionScope::kNode);
  EXPECT_EQ(own_conditions({.engine = "xdp"}, 0).front().scope, ConditionScope::kAdvice)
      << "the program forwards without its process";
}

TEST(BackendWaysTest, ABackendWithoutAWayFailsAfterAMoment) {
  BackendWays ways;
  BackendWays::Time now{};
  const uint8_t states[] = {0, 1 + LINIMO_NEXT_HOP_NO_ROUTE, 1 + LINIMO_NEXT_HOP_RESOLVED, 250};
  ways.learn(480, states, now);
  EXPECT_EQ(ways.problem(480), nullptr) << "not followed";
  EXPECT_STREQ(ways.problem(481), "no route");
  EXPECT_EQ(ways.problem(482), nullptr);
  EXPECT_EQ(ways.problem(483), nullptr) << "no state that is known";
  EXPECT_FALSE(ways.has_failed(481, now + milliseconds(999)));
  ways.learn(480, states, now + milliseconds(500));
  EXPECT_TRUE(ways.has_failed(481, now + milliseconds(1000))) << "telling it again does not begin anew";
  const uint8_t unresolved[] = {0, 1 + LINIMO_NEXT_HOP_UNRESOLVED};
  ways.learn(480, unresolved, now + milliseconds(1500));
  EXPECT_TRUE(ways.has_failed(481, now + milliseconds(1500))) << "without a way in another manner";
  const uint8_t resolved[] = {0, 1 + LINIMO_NEXT_HOP_RESOLVED};
  ways.learn(480, resolved, now + milliseconds(1600));
  EXPECT_FALSE(ways.has_failed(481, now + milliseconds(5000)));
}

}  // namespace
}  // namespace linimo
