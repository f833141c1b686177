// When a VIP is announced, in virtual time.

#include <gtest/gtest.h>

#include "controlplane/announce/decision.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Routes = std::map<Prefix, uint32_t>;

const Prefix kVip4 = *Prefix::parse("203.0.113.10");
const Prefix kVip6 = *Prefix::parse("2001:db8:f::10");

TEST(DrainPhase, HasTheNameThatTheApiShows) {
  EXPECT_STREQ(drain_phase_name(DrainPhase::kServing), "serving");
  EXPECT_STREQ(drain_phase_name(DrainPhase::kDraining), "draining");
  EXPECT_STREQ(drain_phase_name(DrainPhase::kDrained), "drained");
}

class AnnounceDecisionTest : public testing::Test {
 protected:
  AnnounceDecisionTest() {
    config_.startup_deadline = seconds(30);
    config_.drain_wait = seconds(10);
    decision_.configure(config_);
    facts_.tables_known = facts_.health_known = true;
  }

  std::optional<Routes> wanted() {
    auto routes = decision_.wanted(facts_, announced_, now_);
    if (routes) {
      announced_.clear();
      for (const auto& [vip, metric] : *routes) announced_.insert(vip);
    }
    return routes;
  }

  AnnounceDecision::Time now_{};
  AnnounceConfig config_;
  AnnounceDecision decision_{now_};
  AnnounceFacts facts_;
  std::set<Prefix> announced_;
};

TEST_F(AnnounceDecisionTest, AnnouncesWhatIsLiveAndServed) {
  EXPECT_EQ(wanted(), Routes{}) << "no tables, nothing to announce";
  facts_.vips = {{kVip4, 1}, {kVip6, 0}};
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}}));
  facts_.vips = {{kVip4, 0}, {kVip6, 3}};
  EXPECT_EQ(wanted(), (Routes{{kVip6, 100}}));
}

TEST_F(AnnounceDecisionTest, ANodeThatCannotServeAnnouncesNothing) {
  facts_.vips = {{kVip4, 3}};
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}}));
  facts_.serves = false;
  EXPECT_EQ(wanted(), Routes{});
  facts_.health_known = facts_.tables_known = false;
  EXPECT_EQ(wanted(), Routes{}) << "whatever else is not known";
}

TEST_F(AnnounceDecisionTest, WantsEnoughBackends) {
  config_.min_backends = 2;
  decision_.configure(config_);
  facts_.vips = {{kVip4, 1}, {kVip6, 2}};
  EXPECT_EQ(wanted(), (Routes{{kVip6, 100}}));
}

TEST_F(AnnounceDecisionTest, WantsOneServiceOfAVipOrAll) {
  facts_.vips = {{kVip4, 0}, {kVip4, 1}, {kVip6, 1}, {kVip6, 1}};
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}, {kVip6, 100}}));
  config_.every_service = true;
  decision_.configure(config_);
  EXPECT_EQ(wanted(), (Routes{{kVip6, 100}}));
}

TEST_F(AnnounceDecisionTest, LeavesAllAsItIsUntilHealthIsKnown) {
  facts_.health_known = false;
  facts_.vips = {{kVip4, 3}};
  EXPECT_EQ(wanted(), std::nullopt);
  now_ += seconds(29);
  EXPECT_EQ(wanted(), std::nullopt);
  facts_.health_known = true;
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}}));
}

TEST_F(AnnounceDecisionTest, WaitsForHealthNoLongerThanTheDeadline) {
  facts_.health_known = false;
  facts_.vips = {{kVip4, 3}};
  EXPECT_EQ(decision_.next_change(now_), now_ + seconds(30));
  now_ += seconds(30);
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}}));
  EXPECT_EQ(decision_.next_change(now_), std::nullopt);
}

TEST_F(AnnounceDecisionTest, TheNextChangeIsTheEarlierOfTwo) {
  decision_.drain(now_);
  EXPECT_EQ(decision_.next_change(now_), now_ + seconds(10)) << "the drain's end";
  decision_.undrain();
  now_ += seconds(25);
  decision_.drain(now_);
  EXPECT_EQ(decision_.next_change(now_), now_ + seconds(5)) << "the deadline";
}

TEST_F(AnnounceDecisionTest, LeavesAllAsItIsUntilADataPlaneWasHeard) {
  facts_.tables_known = false;
  now_ += seconds(100);
  EXPECT_EQ(wanted(), std::nullopt) << "the deadline is for health, not for this";
}

TEST_F(AnnounceDecisionTest, DrainsInTwoSteps) {
  facts_.vips = {{kVip4, 3}, {kVip6, 0}};
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}}));
  decision_.drain(now_);
  EXPECT_EQ(decision_.phase(now_), DrainPhase::kDraining);
  EXPECT_EQ(wanted(), (Routes{{kVip4, 200}}));
  facts_.vips = {{kVip4, 3}, {kVip6, 3}};
  now_ += milliseconds(9999);
  EXPECT_EQ(wanted(), (Routes{{kVip4, 200}})) << "what was not announced is not announced newly";
  EXPECT_EQ(decision_.next_change(now_), now_ + milliseconds(1));
  decision_.drain(now_);  // again: the wait is not begun anew
  now_ += milliseconds(1);
  EXPECT_EQ(decision_.phase(now_), DrainPhase::kDrained);
  EXPECT_EQ(wanted(), Routes{});
  decision_.undrain();
  EXPECT_EQ(wanted(), (Routes{{kVip4, 100}, {kVip6, 100}}));
}

TEST_F(AnnounceDecisionTest, WithdrawsWhileItDrains) {
  facts_.vips = {{kVip4, 3}, {kVip6, 3}};
  wanted();
  decision_.drain(now_);
  facts_.vips = {{kVip4, 0}, {kVip6, 3}};
  EXPECT_EQ(wanted(), (Routes{{kVip6, 200}}));
  facts_.vips = {{kVip4, 3}, {kVip6, 3}};
  EXPECT_EQ(wanted(), (Routes{{kVip6, 200}}));
}

TEST_F(AnnounceDecisionTest, ADrainedNodeAnnouncesNothingWhateverIsNotKnown) {
  facts_.tables_known = facts_.health_known = false;
  announced_ = {kVip4};
  decision_.drain(now_);
  EXPECT_EQ(wanted(), std::nullopt);
  now_ += seconds(10);
  EXPECT_EQ(wanted(), Routes{});
}

}  // namespace
}  // namespace linimo
