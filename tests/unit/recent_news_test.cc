// What a fleet's nodes remember of what was told of flows, and who tells a node that starts.
#include "controlplane/fleet/recent_news.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace linimo::fleet {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr RecentNews::Time kStart{seconds(1000)};

SharedFlow flow(uint64_t hash, uint64_t backend = 1) {
  return {.hash = hash, .service = 7, .backend = backend};
}

TEST(RecentNews, TheLastWordOnAFlowCounts) {
  RecentNews news;
  news.note(std::array{flow(1, 1)}, kStart);
  news.note(std::array{flow(2)}, kStart + seconds(1));
  news.note(std::array{flow(1, 3)}, kStart + seconds(2));
  EXPECT_THAT(news.since(kStart), ElementsAre(flow(2), flow(1, 3)));
}

TEST(RecentNews, WhatHasEndedIsForgottenAndADatagramNeverKept) {
  RecentNews news;
  news.note(std::array{flow(1)}, kStart);
  SharedFlow ended = flow(1);
  ended.ended = true;
  news.note(std::array{ended}, kStart);
  SharedFlow datagram = flow(2);
  datagram.datagram = true;
  news.note(std::array{datagram}, kStart);
  EXPECT_THAT(news.since(kStart), IsEmpty());
}

TEST(RecentNews, WhatIsTooOldIsNotTold) {
  RecentNews news;
  news.note(std::array{flow(1)}, kStart);
  news.note(std::array{flow(2)}, kStart + seconds(10));
  EXPECT_THAT(news.since(kStart + seconds(5)), ElementsAre(flow(2)));
}

TEST(RecentNews, TheOldestMakeRoom) {
  RecentNews news;
  for (uint64_t hash = 0; hash < RecentNews::kMost + 2; ++hash) news.note(std::array{flow(hash)}, kStart);
  EXPECT_EQ(news.size(), RecentNews::kMost);
  EXPECT_EQ(news.since(kStart).front(), flow(2));
}

constexpr TableId kLive{.revision = 3, .state = 9, .fence = {}};

Heartbeat heartbeat(const std::string& node, uint64_t instance, TableId table = kLive) {
  Heartbeat said;
  said.node = node;
  said.instance = instance;
  said.table = table;
  return said;
}

View nodes(std::initializer_list<const char*> names) {
  View view;
  for (const char* name : names) view.nodes[name].record = std::make_shared<const NodeRecord>();
  return view;
}

TEST(Newcomers, AreToldOnceByTheFirstOfTheOthers) {
  const View view = nodes({"lb1", "lb2", "lb3"});
  Newcomers at_lb1, at_lb2;
  EXPECT_TRUE(at_lb1.are_told(heartbeat("lb3", 5), view, "lb1", kLive));
  EXPECT_FALSE(at_lb1.are_told(heartbeat("lb3", 5), view, "lb1", kLive)) << "once";
  EXPECT_FALSE(at_lb2.are_told(heartbeat("lb3", 5), view, "lb2", kLive)) << "lb1 does";
  EXPECT_TRUE(at_lb2.are_told(heartbeat("lb1", 5), view, "lb2", kLive)) << "lb1 does not tell itself";
  EXPECT_TRUE(at_lb1.are_told(heartbeat("lb3", 6), view, "lb1", kLive)) << "it has started anew";
}

TEST(Newcomers, AreToldOnceTheyForwardAsThisNodeDoes) {
  const View view = nodes({"lb1", "lb2"});
  Newcomers newcomers;
  EXPECT_FALSE(newcomers.are_told(heartbeat("lb2", 5, {}), view, "lb1", kLive));
  EXPECT_FALSE(
      newcomers.are_told(heartbeat("lb2", 5, {.revision = 3, .state = 8, .fence = {}}), view, "lb1", kLive));
  EXPECT_TRUE(newcomers.are_told(heartbeat("lb2", 5), view, "lb1", kLive));
}

TEST(Newcomers, MustBeMembers) {
  View view = nodes({"lb1", "lb2"});
  Newcomers newcomers;
  EXPECT_FALSE(newcomers.are_told(heartbeat("lb9", 5), view, "lb1", kLive));
  EXPECT_FALSE(newcomers.are_told(heartbeat("lb1", 5), view, "lb1", kLive)) << "its own";
  view.nodes["lb2"].record = nullptr;  // its lease has ended
  EXPECT_FALSE(newcomers.are_told(heartbeat("lb2", 5), view, "lb1", kLive));
}

}  // namespace
}  // namespace linimo::fleet
