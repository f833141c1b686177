// Which nodes of a fleet handle fragments, as several conclude it from records that reach them at different
// times.

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "controlplane/fleet/handlers.h"
#include "controlplane/fleet/step.h"

namespace linimo::fleet {
namespace {

class FleetHandlers : public testing::Test {
 protected:
  using Names = std::vector<std::string>;

  State& node(const std::string& name) {
    const auto [found, is_new] = nodes_.try_emplace(name);
    if (is_new) {
      found->second.settings.node = found->second.settings.tunnel = name;
      found->second.own.live_known = found->second.session.once_read = found->second.trusts = true;
    }
    return found->second;
  }
  void hear(const std::string& name, const Names& announcing) {
    for (const std::string each : {"a", "b", "c"}) {
      NodeRecord record{1, "", {}, each};
      if (std::ranges::find(announcing, each) != announcing.end()) record.announces = {"v"};
      ++revision_;
      node(name).view.take(
          {{KeyKind::kNode, 0, each}, std::make_shared<const Value>(record), revision_, revision_, 0});
    }
  }
  /// Who handles some, and whether that moves; whoever lives may pass some on.
  std::pair<Names, bool> at(const std::string& name, double seconds) {
    State& state = node(name);
    state.now = Time() + std::chrono::duration_cast<Time::duration>(std::chrono::duration<double>(seconds));
    state.wake.reset();
    Actions actions;
    agree_on_handlers(state, actions);
    const HandleFragments& handlers = state.own.handlers;
    Names all = handlers.others;
    all.insert(all.end(), handlers.tunnels.begin(), handlers.tunnels.end());
    for (const auto& [each, record] : state.view.nodes) {
      if (!handlers.tunnels.empty()) {
        EXPECT_TRUE(std::ranges::find(all, record->tunnel) != all.end()) << each;
      }
    }
    return {handlers.tunnels, handlers.move};
  }

  using What = std::pair<Names, bool>;
  static What what(Names tunnels, bool move) { return {std::move(tunnels), move}; }

  std::map<std::string, State> nodes_;
  int64_t revision_ = 0;
};

TEST_F(FleetHandlers, ChangeOnceAllHaveHadTimeToHear) {
  take_handlers(node("a"), HandlersLive{{.tunnels = {"a", "b"}}});
  hear("a", {"a", "b", "c"});
  EXPECT_EQ(at("a", 1), what({"a", "b"}, false)) << "it may be over at once";
  EXPECT_EQ(node("a").wake, Time() + std::chrono::seconds(2));
  EXPECT_EQ(at("a", 2), what({"a", "b"}, true)) << "then it is told of";
  EXPECT_EQ(node("a").wake, Time() + std::chrono::seconds(4));
  EXPECT_EQ(at("a", 3.9), what({"a", "b"}, true));
  EXPECT_EQ(at("a", 4), what({"a", "b", "c"}, true));
  EXPECT_EQ(at("a", 7), what({"a", "b", "c"}, false));
  EXPECT_FALSE(node("a").wake) << "nothing more is to come";
}

TEST_F(FleetHandlers, AnAddressThatAnotherNodeHasTooIsNamed) {
  State& state = node("a");
  hear("a", {"a", "b"});
  const auto alarms = [&] {
    Actions actions;
    agree_on_handlers(state, actions);
    std::vector<std::string> texts;
    for (const Action& action : actions) {
      if (const auto* alarm = std::get_if<Alarm>(&action)) texts.push_back(alarm->text);
    }
    return texts;
  };
  EXPECT_EQ(alarms().size(), 0U);
  state.settings.tunnel = "b";
  EXPECT_EQ(alarms().size(), 0U) << "it may be what is left of a node that has died";
  state.now += 2 * state.settings.lease;
  EXPECT_EQ(alarms(), Names{"node b has encap_source b too: each node needs its own"});
  EXPECT_EQ(alarms().size(), 0U) << "once";
  state.settings.tunnel = "a";
  EXPECT_EQ(alarms(), Names{""});
}

TEST_F(FleetHandlers, ANodeWhoseAddressMovesIsRegisteredWithTheNewOne) {
  State state = start({.node = "a", .instance = 1, .about = {}, .tunnel = "10.0.0.1"}, {}, Time());
  EXPECT_EQ(state.own.node->tunnel, "10.0.0.1");
  step(state, TunnelMoved{"10.0.0.2"}, Time());
  EXPECT_EQ(state.own.node->tunnel, "10.0.0.2");
  EXPECT_EQ(state.own.node->instance, 1U);
}

// It goes by the table that the others have, which it is not in yet.
TEST_F(FleetHandlers, ANodeThatJoinsIsTheLastToCountItself) {
  hear("c", {"a", "b", "c"});
  EXPECT_EQ(at("c", 0), what({"a", "b"}, true));
  EXPECT_EQ(at("c", 3), what({"a", "b", "c"}, true));
}

TEST_F(FleetHandlers, WhoeverDiesOrDrainsIsLeftInTime) {
  for (const bool dead : {false, true}) {
    nodes_.clear();
    take_handlers(node("a"), HandlersLive{{.tunnels = {"a", "b", "c"}}});
    hear("a", {"a", "c"});
    if (dead) node("a").view.nodes.erase("b");
    EXPECT_EQ(at("a", 0), what({"a", "b", "c"}, false));
    EXPECT_EQ(at("a", 1), what({"a", "b", "c"}, true));
    EXPECT_EQ(at("a", 3), what({"a", "c"}, true));
    EXPECT_EQ(at("a", 6), what({"a", "c"}, false));
  }
}

// As where a control plane starts anew, or all leases have ended while the store was away.
TEST_F(FleetHandlers, WhatIsOverWithinASecondChangesNothing) {
  take_handlers(node("a"), HandlersLive{{.tunnels = {"a", "b", "c"}}});
  hear("a", {});
  EXPECT_EQ(at("a", 0), what({"a", "b", "c"}, false));
  hear("a", {"a"});
  EXPECT_EQ(at("a", 0.2), what({"a", "b", "c"}, false));
  hear("a", {"a", "b", "c"});
  for (const double now : {0.9, 1.5, 4.0, 10.0}) EXPECT_EQ(at("a", now), what({"a", "b", "c"}, false));
}

TEST_F(FleetHandlers, AreUnknownUntilItIsKnownWhatTheDataPlaneGoesBy) {
  node("a").own.live_known = false;
  hear("a", {"a", "b", "c"});
  EXPECT_EQ(at("a", 9), what({}, false));
}

TEST_F(FleetHandlers, StayUntilTheStoreIsReadAndWhileItIsNotTrusted) {
  take_handlers(node("a"), HandlersLive{{.tunnels = {"a", "b"}}});
  node("a").trusts = false;
  EXPECT_EQ(at("a", 1), what({"a", "b"}, false));
  node("a").trusts = true;
  node("a").session.once_read = false;
  EXPECT_EQ(at("a", 2), what({"a", "b"}, false));
  node("a").session.once_read = true;
  EXPECT_EQ(at("a", 3), what({"a", "b"}, false));
  EXPECT_EQ(at("a", 6), what({}, true)) << "nobody announces anything";
}

// One whose lease has ended may have lost its way to the store alone, and forwards.
TEST_F(FleetHandlers, WhoeverWasKnownMayPassFragmentsOn) {
  take_handlers(node("a"), HandlersLive{{.tunnels = {"a", "b", "c"}}});
  hear("a", {"a", "c"});
  node("a").view.nodes.erase("b");
  at("a", 0);
  for (const double now : {3.0, 6.0, 900.0}) {
    at("a", now);
    EXPECT_EQ(node("a").own.handlers.others, Names({"b"}));
  }
}

// A bound: whoever lives is listened to before whoever once did.
TEST_F(FleetHandlers, OfTooManyThatWereKnownTheLivingAreListenedTo) {
  HandlersLive before;
  for (int i = 100; i < 162; ++i) before.handlers.tunnels.push_back("n" + std::to_string(i));
  take_handlers(node("a"), before);
  hear("a", {"a"});
  at("a", 0);
  EXPECT_EQ(node("a").own.handlers.others, Names({"a", "b", "c"}));
  at("a", 3);
  EXPECT_EQ(node("a").own.handlers.others, Names({"b", "c"})) << "65 were one too many";
}

// Two nodes that hear of a change up to two seconds apart: whenever their tables differ, both tell.
TEST_F(FleetHandlers, NodesThatDifferTellEachOther) {
  const Names two{"a", "b"}, three{"a", "b", "c"};
  for (const double late : {0.01, 0.5, 1.7, 1.95}) {
    for (const auto& [before, next] : {std::pair(two, three), std::pair(three, two)}) {
      nodes_.clear();
      for (const char* name : {"a", "b"}) {
        take_handlers(node(name), HandlersLive{{.tunnels = before}});
        hear(name, before);
        at(name, 0), at(name, 10);
      }
      hear("a", next);
      bool heard = false;
      for (double now = 10; now < 30; now += 0.05) {
        if (now >= 10 + late && !std::exchange(heard, true)) hear("b", next);
        const What a = at("a", now), b = at("b", now);
        ASSERT_TRUE(a.first == b.first || (a.second && b.second)) << late << " s late, at " << now;
      }
      EXPECT_EQ(at("b", 30), (what(next, false)));
    }
  }
}

}  // namespace
}  // namespace linimo::fleet
