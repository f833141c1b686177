// Drops that begin or end are told once each, with how many; what trickles is not told, and what comes and
// goes less and less often.

#include "controlplane/drop_watch.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

using std::chrono::seconds;

/// Two reasons, in virtual time, looked at once a second.
class DropWatchTest : public testing::Test {
 protected:
  /// So many packets of the first reason in each of these seconds; what is told meanwhile.
  std::vector<DropWatch::Change> drop(uint64_t per_second, int for_seconds) {
    std::vector<DropWatch::Change> told;
    for (int i = 0; i < for_seconds; ++i) {
      counts_[0] += per_second;
      now_ += seconds(1);
      for (const auto& change : watch_.look(counts_, now_)) told.push_back(change);
    }
    return told;
  }
  /// Seconds without a drop until that is told.
  int quiet_until_told() {
    for (int i = 1; i < 2000; ++i) {
      if (const auto told = drop(0, 1); !told.empty()) return told[0].begins ? -1 : i;
    }
    return -1;
  }

  DropWatchTest() { watch_.look(counts_, now_); }

  DropWatch watch_;
  DropWatch::Time now_{seconds(1000)};
  uint64_t counts_[2] = {1'000'000, 5};  // long ago
};

TEST_F(DropWatchTest, WhatBeginsAndEndsIsToldOnceWithRateAndNumber) {
  const auto begun = drop(100, 30);
  ASSERT_EQ(begun.size(), 1u);
  EXPECT_EQ(begun[0].reason, 0u);
  EXPECT_TRUE(begun[0].begins);
  EXPECT_DOUBLE_EQ(begun[0].per_second, 100);
  const auto ended = drop(0, 60);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_FALSE(ended[0].begins);
  EXPECT_EQ(ended[0].packets, 3000u);
  EXPECT_NEAR(static_cast<double>(ended[0].time.count()), 30, 3);
  EXPECT_NEAR(ended[0].per_second, 100, 10);
}

TEST_F(DropWatchTest, BeginsWithinThreeSecondsOfAPacketASecond) {
  EXPECT_TRUE(drop(1, 2).empty());
  EXPECT_EQ(drop(1, 1).size(), 1u);
}

TEST_F(DropWatchTest, BeginsAtOnceWithMany) {
  EXPECT_EQ(drop(1000, 1).size(), 1u);
}

TEST_F(DropWatchTest, ATrickleIsNoNews) {
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(drop(2, 1).empty());
    EXPECT_TRUE(drop(0, 4).empty());
  }
}

TEST_F(DropWatchTest, APauseShorterThanTheQuietTimeIsNoEnd) {
  EXPECT_EQ(drop(100, 5).size(), 1u);
  EXPECT_TRUE(drop(0, 8).empty());
  EXPECT_TRUE(drop(100, 5).empty());
}

/// The rate does not matter for how soon an end is seen.
TEST_F(DropWatchTest, AnEndIsToldSoonHoweverManyTheyWere) {
  drop(1'000'000'000, 100);
  EXPECT_LE(quiet_until_told(), 13);
}

TEST_F(DropWatchTest, WhatComesAndGoesIsToldLessAndLessOften) {
  int told = 0;
  for (int second = 0; second < 3600; ++second)
    told += static_cast<int>(drop(second % 15 < 2 ? 50 : 0, 1).size());
  EXPECT_LE(told, 2 * 8) << "of 240 times in an hour";
  EXPECT_GT(told, 2);
}

TEST_F(DropWatchTest, AfterALongPeaceAnEndIsToldSoonAgain) {
  for (int i = 0; i < 5; ++i) {
    drop(100, 3);
    EXPECT_GT(quiet_until_told(), 0);
  }
  drop(100, 3);
  EXPECT_GT(quiet_until_told(), 60);
  drop(0, 3600);
  drop(100, 3);
  EXPECT_LE(quiet_until_told(), 13);
}

/// A data plane that starts anew counts from 0: its drops are news of their own, and none are made up.
TEST_F(DropWatchTest, CountersThatBeginAnewMakeNoDrops) {
  counts_[0] = 0;
  EXPECT_TRUE(drop(0, 5).empty());
  EXPECT_EQ(drop(10, 3).size(), 1u);
  counts_[0] = 0;
  drop(20, 1);
  const auto ended = drop(0, 20);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].packets, 30u + 20u);
}

TEST_F(DropWatchTest, ReasonsAreToldApart) {
  drop(100, 3);
  counts_[1] += 50;
  const auto told = drop(100, 1);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].reason, 1u);
}

/// What was dropped while nobody looked, over minutes, is a rate of those minutes.
TEST_F(DropWatchTest, LooksThatAreLateMakeNoBurst) {
  counts_[0] += 20;
  now_ += seconds(100);
  EXPECT_TRUE(watch_.look(counts_, now_).empty());
}

}  // namespace
}  // namespace linimo
