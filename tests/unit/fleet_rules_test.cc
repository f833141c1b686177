// The rules of a fleet that are functions by themselves. What comes of them together is tests/fleet.

#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "controlplane/fleet/activation.h"
#include "controlplane/fleet/checkers.h"
#include "controlplane/fleet/excuses.h"
#include "controlplane/fleet/heartbeats.h"
#include "controlplane/fleet/history.h"
#include "controlplane/fleet/majority.h"
#include "controlplane/fleet/membership.h"
#include "controlplane/fleet/observations.h"
#include "controlplane/fleet/step.h"
#include "controlplane/fleet/trust.h"
#include "controlplane/fleet/view.h"

namespace linimo::fleet {
namespace {

using std::chrono::milliseconds;

Entry entry(Key key, Value value, int64_t revision) {
  return {std::move(key), std::make_shared<const Value>(std::move(value)), revision, revision, 0};
}

TEST(FleetMajority, IsMoreThanHalfOfAllWhoMaySpeak) {
  EXPECT_TRUE(is_majority(1, 1));
  EXPECT_FALSE(is_majority(1, 2));
  EXPECT_TRUE(is_majority(2, 3));
  EXPECT_FALSE(is_majority(2, 4));
  EXPECT_FALSE(is_majority(0, 0));
}

TEST(FleetCheckers, ANodeThatGoesMovesOnlyItsOwnBackends) {
  std::vector<std::string> nodes;
  for (int i = 0; i < 32; ++i) nodes.push_back("n" + std::to_string(100 + i));
  std::vector<std::string> backends;
  for (int i = 0; i < 1000; ++i) backends.push_back("p/" + std::to_string(1000 + i));
  const auto names = [](const Assignment& assignment, size_t backend) {
    std::set<std::string> result;
    for (const uint16_t node : assignment.backends[backend].checkers) result.insert(assignment.nodes[node]);
    return result;
  };
  const Assignment before = assign(nodes, backends, 3);
  const std::string gone = nodes[7];
  nodes.erase(nodes.begin() + 7);
  const Assignment after = assign(nodes, backends, 3);
  size_t moved = 0;
  for (size_t i = 0; i < backends.size(); ++i) {
    EXPECT_EQ(names(before, i).size(), 3U);
    EXPECT_EQ(names(after, i).size(), 3U);
    const bool was_its = names(before, i).contains(gone);
    moved += was_its;
    if (was_its) continue;
    EXPECT_EQ(names(before, i), names(after, i));
  }
  EXPECT_GT(moved, 50U);
  EXPECT_LT(moved, 150U);
}

TEST(FleetCheckers, AllCheckWhereFewLive) {
  EXPECT_EQ(assign({"a", "b"}, {"p/1"}, 3).backends[0].checkers.size(), 2U);
  EXPECT_TRUE(assign({}, {"p/1"}, 3).backends[0].checkers.empty());
}

TEST(FleetHistory, KeepsWhatHasTimeLeftAndIsCut) {
  StateRecord state;
  state.backends = std::make_shared<const BackendStates>(BackendStates{{"p/1", HealthState::kUp, false}});
  state.history = {{3, state.backends, milliseconds(4000)}, {2, state.backends, milliseconds(8000)}};
  const auto after = history_after(state, 4, milliseconds(1000), milliseconds(9000));
  ASSERT_EQ(after.size(), 2U);
  EXPECT_EQ(after[0].revision, 4U);
  EXPECT_EQ(after[0].ago, milliseconds(0));
  EXPECT_EQ(after[1].revision, 3U);
  EXPECT_EQ(after[1].ago, milliseconds(5000));

  EXPECT_EQ(history_after(state, 0, milliseconds(0), milliseconds(9000)).size(), 2U);  // no table was changed

  EXPECT_TRUE(history_after(state, 4, milliseconds(0), milliseconds(0)).empty()) << "no slot learns";

  for (uint64_t i = 0; i < 100; ++i)
    state.history = history_after(state, i + 5, milliseconds(1), milliseconds(9000));
  ASSERT_EQ(state.history.size(), kMostPast);
  EXPECT_EQ(state.history.front().revision, 104U);  // the oldest went
}

/// A backend leaves while a majority of its checkers hears it ask, whatever operators wish.
TEST(FleetObservations, ABackendLeavesWhenMostOfItsCheckersHearItAsk) {
  State state;
  state.assignment.nodes = {"a", "b", "c"};
  state.assignment.backends = {{"p/1", {0, 1, 2}}};
  int64_t revision = 1;
  const auto says = [&](const char* node, bool leaves) {
    state.view.take(entry({KeyKind::kObservations, 0, node},
                          ObservationsRecord{{{"p/1", {HealthState::kUp, leaves}}}, ""}, revision++));
  };
  says("a", true);
  EXPECT_FALSE(merged(state)[0].leaves);
  says("b", true);
  EXPECT_TRUE(merged(state)[0].leaves);
  EXPECT_FALSE(merged(state)[0].drains);
  EXPECT_EQ(merged(state)[0].health, HealthState::kUp);
  StateRecord held;
  held.backends = std::make_shared<const BackendStates>(merged(state));
  state.view.take(entry({KeyKind::kState}, held, revision++));
  state.view.take(
      entry({KeyKind::kObservations, 0, "a"}, ObservationsRecord{}, revision++));  // it started anew
  EXPECT_TRUE(merged(state)[0].leaves);
  says("c", false);
  says("a", false);
  EXPECT_FALSE(merged(state)[0].leaves);
}

/// It has as much of its weight as most of its checkers grant it, however many of them have died since.
TEST(FleetObservations, ABackendStartsAsSlowlyAsMostOfItsCheckersHaveIt) {
  State state;
  state.assignment.nodes = {"a", "b", "c"};
  state.assignment.backends = {{"p/1", {0, 1, 2}}};
  int64_t revision = 1;
  const auto says = [&](const char* node, const Opinion& opinion) {
    state.view.take(
        entry({KeyKind::kObservations, 0, node}, ObservationsRecord{{{"p/1", opinion}}, ""}, revision++));
    StateRecord held;
    held.backends = std::make_shared<const BackendStates>(merged(state));
    state.view.take(entry({KeyKind::kState}, held, revision++));
    return merged(state)[0];
  };
  for (const char* node : {"a", "b", "c"}) says(node, HealthState::kDown);
  says("a", {HealthState::kUp, false, 1});
  BackendState is = says("b", {HealthState::kUp, false, 1});
  EXPECT_EQ(is.health, HealthState::kUp);
  EXPECT_EQ(is.eighths, 1U);
  EXPECT_EQ(says("a", {HealthState::kUp, false, 2}).eighths, 1U) << "one alone is further";
  EXPECT_EQ(says("c", {HealthState::kUp, false, 8}).eighths, 2U)
      << "who begins to check it has not seen it go";
  EXPECT_EQ(says("b", {HealthState::kUp, false, 3}).eighths, 3U);
  EXPECT_EQ(says("b", {HealthState::kUp, false, 0}).eighths, 2U);
  EXPECT_EQ(says("a", {HealthState::kUp, false, 0}).eighths, 0U) << "held back by two of three";
  says("b", HealthState::kUnknown);
  EXPECT_EQ(says("a", HealthState::kUnknown).eighths, 0U) << "too few speak: it stays as it is";
  says("a", HealthState::kDown);
  is = says("b", HealthState::kDown);
  EXPECT_EQ(is.health, HealthState::kDown);
  EXPECT_EQ(is.eighths, 8U);
}

View view_with(const std::vector<std::string>& complaining, const std::vector<std::string>& announcing) {
  View view;
  int64_t revision = 1;
  for (const std::string& node : announcing)
    view.take(entry({KeyKind::kNode, 0, node}, NodeRecord{1, "", {"v"}, ""}, revision++));
  for (const std::string& node : complaining)
    view.take(entry({KeyKind::kObservations, 0, node}, ObservationsRecord{{}, "contradiction"}, revision++));
  return view;
}

TEST(FleetExcuses, NeverLetTheLastGo) {
  const std::vector<std::string> all{"a", "b", "c"};
  EXPECT_EQ(excuses(view_with({"b"}, all), {}), std::vector<std::string>({"b"}));
  EXPECT_EQ(excuses(view_with(all, all), {}), std::vector<std::string>({"a", "b"}));
  EXPECT_EQ(excuses(view_with({"a"}, {"a"}), {}), std::vector<std::string>());
}

TEST(FleetExcuses, KeepWhoWasExcused) {
  EXPECT_EQ(excuses(view_with({"a", "b"}, {"a", "b"}), {"b"}), std::vector<std::string>({"b"}));
}

TEST(FleetView, TakesNothingOlderAndForgetsVotesThatNobodyNeeds) {
  View view = view_of({entry({KeyKind::kRevision}, RevisionRecord{2, 7, ""}, 5),
                       entry({KeyKind::kReady, 1, "a"}, ReadyRecord{1, 7, ""}, 4),
                       entry({KeyKind::kReady, 2, "a"}, ReadyRecord{1, 7, ""}, 6)},
                      6);
  EXPECT_EQ(view.candidate(), 2U);
  EXPECT_EQ(view.ready.size(), 1U);
  const uint64_t version = view.version;
  view.take(entry({KeyKind::kReady, 2, "a"}, ReadyRecord{1, 7, "no"}, 5));  // known already
  EXPECT_EQ(view.version, version);
  view.take(entry({KeyKind::kActive}, ActiveRecord{{}, 2, 7}, 7));
  view.complete_to(7);
  EXPECT_EQ(view.candidate(), 0U);
  EXPECT_TRUE(view.ready.empty());
}

TEST(FleetView, WhatCannotBeReadIsNamedAndNothing) {
  View view = view_of({entry({KeyKind::kActive}, std::monostate(), 3)}, 3);
  EXPECT_FALSE(view.active);
  EXPECT_EQ(view.active.changed, 3);
  EXPECT_EQ(view.unreadable, std::set<std::string>({"active"}));
  view.take(entry({KeyKind::kActive}, ActiveRecord{{}, 2, 7}, 4));
  EXPECT_TRUE(view.active);
  EXPECT_TRUE(view.unreadable.empty());
}

template <typename Record>
Held<Record> held(Record record, int64_t created, int64_t changed) {
  return {std::make_shared<const Record>(std::move(record)), created, changed, 0};
}

Held<EpochRecord> epoch(uint64_t number, int64_t changed) {
  return held(EpochRecord{.number = number, .by = {}}, changed, changed);
}
Held<LeaderRecord> leader(const char* node, int64_t elected) {
  return held(LeaderRecord{.node = node, .instance = 1}, elected, elected);
}
Held<ActiveRecord> active(int64_t by, uint64_t number, uint64_t digest, int64_t changed) {
  return held(ActiveRecord{.fence = {1, by}, .number = number, .digest = digest}, 2, changed);
}
Held<StateRecord> state(int64_t by, uint64_t number, int64_t changed) {
  StateRecord record;
  record.fence = {1, by};
  record.number = number;
  return held(std::move(record), 2, changed);
}

/// A store in which a leader that was elected at revision 20 has activated revision 5 and written state 9.
View settled_store() {
  View view;
  view.revision = 100;
  view.epoch = epoch(1, 1);
  view.leader = leader("a", 20);
  view.active = active(20, 5, 55, 30);
  view.state = state(20, 9, 40);
  return view;
}

/// Why a node that has followed settled_store() does not follow what that becomes; empty: it does.
std::string mistrust(const std::function<void(View&)>& becomes) {
  State s;
  s.session.once_read = true;
  s.view = settled_store();
  s.session.read_epoch = newest_epoch(s.view);
  Actions out;
  judge_store(s, out);
  EXPECT_TRUE(s.trusts);
  becomes(s.view);
  judge_store(s, out);
  out.clear();
  s.now += s.settings.lease;
  judge_store(s, out);
  EXPECT_EQ(s.trusts, out.empty()) << "after a lease's time there is an alarm";
  return s.trusts || out.empty() ? "" : std::get<Alarm>(out[0]).text;
}

TEST(FleetTrust, FollowsNothingOlderThanWhatWasSeen) {
  EXPECT_EQ(mistrust([](View& view) { view.revision = 101; }), "");
  const auto says = [](const char* reason, const std::function<void(View&)>& becomes) {
    const std::string text = mistrust(becomes);
    EXPECT_NE(text.find(reason), std::string::npos) << text;
  };
  says("its epoch is 0, and was 1", [](View& view) { view.epoch = {}; });
  says("it is at store revision 99, and was at 100", [](View& view) { view.revision = 99; });
  says("revision 4 is active, and 5 was", [](View& view) { view.active = active(20, 4, 44, 30); });
  says("revision 4 is active, and 5 was", [](View& view) {  // which operators know, unlike what follows
    view.active = active(20, 4, 44, 30);
    view.revision = 99;
  });
  says("revision 5 has other documents than it had", [](View& view) { view.active = active(20, 5, 56, 30); });
  says("its leader was elected at store revision 19, and one at 20",
       [](View& view) { view.leader = leader("a", 19); });
  says("its state is 8, and was 9", [](View& view) { view.state = state(20, 8, 40); });
  says("its state is by an earlier leader than it was", [](View& view) { view.state = state(19, 9, 19); });
}

TEST(FleetTrust, FollowsNothingThatALeaderWroteOnceAnotherWasElected) {
  const auto next_leader = [](View& view) {
    view.revision = 120;
    view.leader = leader("b", 110);
  };
  EXPECT_EQ(mistrust(next_leader), "") << "what it wrote before counts";
  EXPECT_NE(mistrust([&](View& view) {
              next_leader(view);
              view.state = state(20, 10, 115);
            }).find("state 10 is by a leader that had been succeeded"),
            std::string::npos);
  EXPECT_NE(mistrust([&](View& view) {
              next_leader(view);
              view.active = active(20, 6, 66, 115);
            }).find("revision 6 was activated by a leader that had been succeeded"),
            std::string::npos);
}

/// The watch may have missed a restore, and what it then tells stands beside what was before: neither is
/// followed until all has been read.
TEST(FleetTrust, FollowsAnOlderStoreOnceItsEpochIsRaisedAndAllOfItWasReadAnew) {
  State s;
  s.session.once_read = true;
  s.view = settled_store();
  s.session.read_epoch = newest_epoch(s.view);
  s.session.read_due = s.now + std::chrono::hours(1);
  Actions out;
  judge_store(s, out);
  ASSERT_TRUE(s.trusts);
  s.view.state = held(
      StateRecord{.fence = {2, 120}, .number = 10, .backends = {}, .excused = {}, .history = {}}, 2, 121);
  judge_store(s, out);
  EXPECT_FALSE(s.trusts);
  EXPECT_EQ(s.session.read_due, s.now);
  s.view.revision = 3;
  s.view.epoch = epoch(2, 3);
  s.view.leader = {};
  s.view.active = {};
  s.view.state = {};
  s.session.read_epoch = newest_epoch(s.view);
  judge_store(s, out);
  EXPECT_TRUE(s.trusts);
}

TEST(FleetTrust, NamesWhatCannotBeReadWhileItCannot) {
  State s;
  s.session.once_read = true;
  s.view = view_of({entry({KeyKind::kNode, 0, "b"}, std::monostate(), 3)}, 3);
  Actions out;
  judge_store(s, out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(std::get<Alarm>(out[0]).text, "cannot be read, and is not followed: nodes/b");
  judge_store(s, out);
  EXPECT_EQ(out.size(), 1U) << "once";
  s.view.take({{KeyKind::kNode, 0, "b"}, nullptr, 4, 4, 0});
  judge_store(s, out);
  ASSERT_EQ(out.size(), 2U);
  EXPECT_EQ(std::get<Alarm>(out[1]).text, "");
}

TEST(FleetActivation, AsksAgainAfterALeaseWhereNobodySaidWhatBecameOfARevision) {
  State s;
  s.trusts = true;
  s.view.active = active(20, 5, 55, 30);
  const auto asked = [&] {
    Actions out;
    validate(s, out);
    return out.size();
  };
  EXPECT_EQ(asked(), 1U);
  EXPECT_EQ(asked(), 0U);
  s.now += s.settings.lease;
  EXPECT_EQ(asked(), 1U);
  take_validated(s, {5, 56, "other documents", nullptr});
  EXPECT_FALSE(find_validation(s, 5, 55)->known);
  EXPECT_EQ(find_validation(s, 5, 56), nullptr);
  take_validated(s, {5, 55, "", nullptr});
  EXPECT_EQ(find_validation(s, 5, 55)->refusal, "it was not read");
}

TEST(FleetMembership, WhoeverWasReplacedByALaterProcessStandsBack) {
  State s = start({.node = "a", .instance = 5, .about = {}, .tunnel = {}}, {}, Time());
  s.session.lease = 77;
  s.session.once_read = true;
  const auto does = [&](uint64_t registered) {
    s.view.take(entry({KeyKind::kNode, 0, "a"}, NodeRecord{registered, "", {}, ""},
                      static_cast<int64_t>(registered)));
    Actions out;
    write_own(s, out);
    return out;
  };
  EXPECT_TRUE(std::holds_alternative<Transact>(does(4).at(0))) << "it takes an earlier one's place";
  s.session.own = {};
  const Actions out = does(6);
  ASSERT_EQ(out.size(), 1U) << "and writes nothing";
  EXPECT_EQ(std::get<Alarm>(out[0]).text,
            "another process runs as node a, and began later; this one stands back");
}

TEST(FleetHeartbeats, ANodeThatMadeAnotherTableOfTheSameIsNamed) {
  State state;
  state.settings.node = "a";
  state.view = view_with({}, {"a", "b"});
  state.own.live = {3, 7, 9, {1, 5}};
  state.own.live_digest = 0x1234;
  uint64_t sequence = 0;
  const auto hear = [&](const TableId& table, uint64_t digest) {
    Actions out;
    take_heartbeat(state, {"b", 1, ++sequence, table, digest}, out);
    return out.empty() ? std::string("nothing") : std::get<Alarm>(out.at(0)).text;
  };
  EXPECT_EQ(hear({3, 7, 8, {1, 5}}, 0x99), "nothing") << "of another state it is another table";
  EXPECT_EQ(
      hear(state.own.live, 0x99),
      "node b made another table of revision 3 and state 9: 0000000000000099 there, 0000000000001234 here");
  EXPECT_EQ(hear(state.own.live, 0x1234), "") << "it is over";
}

// A node of which five heartbeats in a row are lost is not called dead; one that is silent for long is, once.
TEST(FleetHeartbeats, SomeMayBeLost) {
  State state;
  state.settings.node = "a";
  state.view = view_with({}, {"a", "b"});
  Heartbeat heartbeat;
  heartbeat.node = "b";
  heartbeat.instance = 1;
  const auto told_in = [&](int seconds) {
    size_t said = 0;
    for (int i = 0; i < 2 * seconds; ++i) {
      state.now += milliseconds(500);
      Actions actions;
      beat(state, actions);
      for (const Action& action : actions) said += std::holds_alternative<Say>(action);
    }
    return said;
  };
  const auto hear = [&] {
    Actions actions;
    ++heartbeat.sequence;
    take_heartbeat(state, heartbeat, actions);
  };
  hear();
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(told_in(1), 0U);
    hear();
  }
  EXPECT_EQ(told_in(6), 0U);
  hear();
  EXPECT_EQ(told_in(20), 1U);
}

}  // namespace
}  // namespace linimo::fleet
