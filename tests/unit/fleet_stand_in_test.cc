// A node that has no word from the store and has lost its way: to whom it leaves its VIPs.

#include <gtest/gtest.h>

#include "controlplane/fleet/heartbeats.h"
#include "controlplane/fleet/stand_in.h"
#include "controlplane/fleet/step.h"

namespace linimo::fleet {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class FleetStandIn : public testing::Test {
 protected:
  FleetStandIn() {
    Settings settings;
    settings.node = "a";
    settings.instance = 1;
    state_ = start(settings, {}, Time(seconds(100)));
    for (const std::string node : {"a", "b"})
      state_.view.take({Key{KeyKind::kNode, 0, node},
                        std::make_shared<const Value>(NodeRecord{1, "", {"v"}, ""}), ++revision_, revision_,
                        0});
    state_.session.lease_until = state_.now;  // and since then no word
  }

  void hear(bool stands_in) {
    Actions out;
    Heartbeat heartbeat{"b", 1, ++sequence_, {}, 0, stands_in};
    take_heartbeat(state_, heartbeat, out);
  }

  State state_;
  int64_t revision_ = 0;
  uint64_t sequence_ = 0;
};

TEST_F(FleetStandIn, IsWhoSaysSoAndAnnouncesTheVip) {
  state_.now += seconds(10);
  EXPECT_FALSE(is_stood_in_for(state_, "v")) << "nobody was heard";
  hear(true);
  EXPECT_TRUE(is_stood_in_for(state_, "v"));
  EXPECT_FALSE(is_stood_in_for(state_, "w")) << "which b does not announce";
  hear(false);
  EXPECT_FALSE(is_stood_in_for(state_, "v")) << "it is not well any more";
}

TEST_F(FleetStandIn, IsNobodyWhoHasFallenSilent) {
  state_.now += seconds(10);
  hear(true);
  state_.now += 5 * state_.settings.heartbeat;
  EXPECT_TRUE(is_stood_in_for(state_, "v")) << "single heartbeats may be lost";
  state_.now += state_.settings.heartbeat;
  EXPECT_FALSE(is_stood_in_for(state_, "v"));
}

// The leader may excuse b while it counts on this node, whose lease it takes for alive.
TEST_F(FleetStandIn, IsNobodyUntilAllKnowThatThisNodeIsGone) {
  hear(true);
  state_.now += state_.settings.notice - milliseconds(1);
  EXPECT_FALSE(is_stood_in_for(state_, "v"));
  state_.now += milliseconds(1);
  EXPECT_TRUE(is_stood_in_for(state_, "v"));
}

}  // namespace
}  // namespace linimo::fleet
