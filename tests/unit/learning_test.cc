// Which slots learn, from which backend, for how long: over changes of tables, and over restarts.

#include "controlplane/tables/learning.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace linimo {
namespace {

using std::chrono::seconds;

constexpr uint32_t kSize = 251, kWindow_s = 300, kWithBase_s = 200, kLonger_s = 1200;

Address address(uint32_t index) {
  Address address = *Address::parse("10.0.1.1");
  address.bytes[15] = static_cast<uint8_t>(index + 1);
  return address;
}

class LearningTest : public testing::Test {
 protected:
  LearningTest() { publish(all_up_); }

  using States = std::vector<linimo_backend_state>;

  SnapshotSpec spec_of(const States& states) const {
    SnapshotSpec spec;
    spec.generation = 1;
    spec.encap_source4 = *Address::parse("10.0.0.11");
    PoolSpec pool;
    pool.name = "p";
    for (uint32_t i = 0; i < states.size(); ++i) pool.backends.push_back({address(i), i, 1, states[i]});
    pool.table = make_pool_table(pool.backends, kSize);
    spec.pools = {pool};
    for (const uint32_t timeout_s : {window_s_, window_s_ / 2}) {
      ServiceSpec service;
      service.name = "s" + std::to_string(timeout_s);
      service.id = timeout_s;
      service.tracking = LINIMO_TRACKING_ADAPTIVE;
      service.idle_timeout_s = timeout_s;
      service.shares_flows = spec.services.size() < share_flows_;
      service.vips = {*Prefix::parse("203.0.113.1")};
      service.ports = {{static_cast<uint16_t>(timeout_s), static_cast<uint16_t>(timeout_s)}};
      spec.services.push_back(service);
    }
    return spec;
  }

  /// The slots that a snapshot with these backends lists as learning; it is accepted.
  std::vector<UnsettledSpec> publish(const States& states) {
    SnapshotSpec spec = spec_of(states);
    learning_.plan(spec, now_);
    learning_.accepted();
    last_ = spec;
    return spec.pools[0].unsettled;
  }

  static Address backend_of(const SnapshotSpec& spec, uint32_t slot) {
    const PoolTable& table = *spec.pools[0].table;
    return table.members[table.slots[slot]].address;
  }

  const States all_up_{4, LINIMO_BACKEND_UP};
  const States last_drains_{LINIMO_BACKEND_UP, LINIMO_BACKEND_UP, LINIMO_BACKEND_UP, LINIMO_BACKEND_DRAINING};
  const States last_down_{LINIMO_BACKEND_UP, LINIMO_BACKEND_UP, LINIMO_BACKEND_UP, LINIMO_BACKEND_DOWN};
  uint32_t window_s_ = kWindow_s;
  size_t share_flows_ = 0;  // so many services
  Learning learning_;
  Learning::Time now_{};
  SnapshotSpec last_;
};

TEST_F(LearningTest, NothingIsLearnedFromTheFirstTableOrFromTheSame) {
  EXPECT_TRUE(last_.pools[0].unsettled.empty());
  EXPECT_TRUE(publish(all_up_).empty());
}

TEST_F(LearningTest, EachSlotWhoseBackendChangesLearnsFromTheOneBefore) {
  const SnapshotSpec before = last_;
  const auto learning = publish(last_drains_);
  size_t at = 0;
  for (uint32_t slot = 0; slot < kSize; ++slot) {
    if (backend_of(before, slot) == backend_of(last_, slot)) continue;
    ASSERT_LT(at, learning.size());
    EXPECT_EQ(learning[at].slot, slot);
    EXPECT_EQ(learning[at].base, backend_of(before, slot));
    EXPECT_EQ(learning[at].learning_s, kWithBase_s) << "of the longest idle timeout of the pool";
    ++at;
  }
  EXPECT_EQ(at, learning.size());
  EXPECT_GE(at, kSize / 4);
}

TEST_F(LearningTest, NoSlotLearnsFromABackendThatIsDownOrGone) {
  for (const UnsettledSpec& slot : publish(last_down_)) EXPECT_NE(slot.base, address(3));
  publish(all_up_);
  now_ += seconds(kWindow_s);
  for (const UnsettledSpec& slot : publish({3, LINIMO_BACKEND_UP})) EXPECT_NE(slot.base, address(3));
}

TEST_F(LearningTest, ASlotWhoseBaseGoesMeanwhileIsListedNoLonger) {
  const auto learns_from_the_last = [&](const States& states) {
    return std::ranges::count(publish(states), address(3), &UnsettledSpec::base);
  };
  EXPECT_GT(learns_from_the_last(last_drains_), 0);
  EXPECT_EQ(learns_from_the_last(States(3, LINIMO_BACKEND_UP)), 0);
}

TEST_F(LearningTest, NothingIsLearnedFromATableOfNobody) {
  const States none(4, LINIMO_BACKEND_DOWN);
  EXPECT_TRUE(publish(none).empty()) << "nobody lives";
  EXPECT_TRUE(publish(all_up_).empty()) << "and nobody was there";
}

TEST_F(LearningTest, NothingIsLearnedFromATableOfAnotherSize) {
  SnapshotSpec spec = spec_of(last_drains_);
  spec.pools[0].table = make_pool_table(spec.pools[0].backends, 257);
  learning_.plan(spec, now_);
  EXPECT_TRUE(spec.pools[0].unsettled.empty());
}

TEST_F(LearningTest, ASlotThatChangesAgainKeepsItsBaseAndItsWindow) {
  const auto first = publish(last_drains_);
  now_ += seconds(100);
  const auto second = publish(all_up_);
  ASSERT_FALSE(first.empty());
  for (const UnsettledSpec& slot : first) {
    const auto found = std::ranges::find(second, slot.slot, &UnsettledSpec::slot);
    ASSERT_NE(found, second.end());
    EXPECT_EQ(found->base, slot.base);
    EXPECT_EQ(found->learning_s, kWithBase_s - 100);
  }
}

TEST_F(LearningTest, ASlotIsListedForTwoThirdsOfItsWindow) {
  EXPECT_FALSE(publish(last_drains_).empty());
  now_ += seconds(kWithBase_s - 1);
  EXPECT_FALSE(publish(last_drains_).empty());
  now_ += seconds(1);
  EXPECT_TRUE(publish(last_drains_).empty());
}

TEST_F(LearningTest, WhereFlowsAreSharedABaseCountsForTheWholeWindow) {
  share_flows_ = 1;
  EXPECT_EQ(publish(last_drains_).front().learning_s, kWithBase_s) << "not all services share them";
  share_flows_ = 2;
  now_ += seconds(2 * kWindow_s);
  EXPECT_EQ(publish(all_up_).front().learning_s, kWindow_s);
  now_ += seconds(kWindow_s - 1);
  EXPECT_FALSE(publish(all_up_).empty());
  now_ += seconds(1);
  EXPECT_TRUE(publish(all_up_).empty());
}

TEST_F(LearningTest, ANewWindowBeginsWhenTheLastOneIsOverAndNotBefore) {
  const auto first = publish(last_drains_);
  now_ += seconds(kWindow_s - 1);
  EXPECT_TRUE(publish(all_up_).empty()) << "they learn, though not from a base";
  publish(last_drains_);
  now_ += seconds(1);
  const auto second = publish(all_up_);
  EXPECT_EQ(second.size(), first.size());
  for (const UnsettledSpec& slot : second) EXPECT_EQ(slot.learning_s, kWithBase_s);
}

// A data plane settles slots by what it was told: what is over there must not go on here, or flows on slots
// that change would be sent where the new table says.
TEST_F(LearningTest, ALongerIdleTimeoutDoesNotBeginAgainWhatIsOver) {
  const auto first = publish(last_drains_);
  now_ += seconds(kWindow_s);
  window_s_ = kLonger_s;
  const auto second = publish(all_up_);
  EXPECT_EQ(second.size(), first.size());
  for (const UnsettledSpec& slot : second) EXPECT_EQ(slot.learning_s, 2 * kLonger_s / 3);
}

TEST_F(LearningTest, AShorterIdleTimeoutEndsWindowsSooner) {
  window_s_ = kLonger_s;
  const auto first = publish(last_drains_);
  now_ += seconds(2 * kLonger_s / 3);
  window_s_ = kWindow_s;
  const auto second = publish(all_up_);
  EXPECT_EQ(second.size(), first.size()) << "all but those whose base counts have settled";
  for (const UnsettledSpec& slot : second) EXPECT_EQ(slot.learning_s, kWithBase_s);
}

TEST_F(LearningTest, AnotherDataPlaneHasSettledWhatIsNotListed) {
  const auto first = publish(last_drains_);
  now_ += seconds(kWithBase_s - 1);
  learning_.begin_anew(now_);
  EXPECT_EQ(publish(all_up_).size(), first.size());
  EXPECT_EQ(publish(last_drains_).front().learning_s, 1U) << "what is listed goes on";
  now_ += seconds(1);
  learning_.begin_anew(now_);
  const auto second = publish(all_up_);
  EXPECT_EQ(second.size(), first.size());
  for (const UnsettledSpec& slot : second) EXPECT_EQ(slot.learning_s, kWithBase_s);
}

TEST_F(LearningTest, WhatIsRecalledIsTrackedByNobody) {
  std::vector<Learning::Former> former;
  former.push_back({spec_of(all_up_), now_});
  former.push_back({spec_of(last_drains_), now_});
  learning_.recall(std::move(former), now_ + seconds(kWithBase_s));
  now_ += seconds(kWithBase_s);
  EXPECT_FALSE(publish(all_up_).empty());
}

TEST_F(LearningTest, WhatWasPlannedAndRefusedIsNotLive) {
  SnapshotSpec refused = spec_of(last_drains_);
  learning_.plan(refused, now_);
  EXPECT_FALSE(refused.pools[0].unsettled.empty());
  EXPECT_TRUE(publish(all_up_).empty()) << "the table that is live has not changed";
}

TEST_F(LearningTest, PoolsWithoutAnAdaptiveServiceLearnNothing) {
  SnapshotSpec spec = spec_of(last_drains_);
  for (ServiceSpec& service : spec.services) service.tracking = LINIMO_TRACKING_FULL;
  learning_.plan(spec, now_);
  EXPECT_TRUE(spec.pools[0].unsettled.empty());
}

// Nobody publishes anything when a window is over, so that a snapshot may be live for long with slots whose
// windows are.
TEST_F(LearningTest, WindowsThatAreOverStayOverForAnotherProcess) {
  ASSERT_FALSE(publish(last_drains_).empty());
  const auto bytes = build_snapshot(last_);
  for (const uint32_t ago_s : {10U, 2 * kWindow_s}) {
    Learning next;
    next.resume(SnapshotView::validate(bytes).value(), now_ - seconds(ago_s));
    SnapshotSpec spec = spec_of(last_drains_);
    next.plan(spec, now_);
    EXPECT_EQ(spec.pools[0].unsettled.empty(), ago_s > kWindow_s);
  }
}

TEST_F(LearningTest, AnotherProcessGoesOnFromWhatIsLive) {
  const auto learning = publish(last_drains_);
  const auto bytes = build_snapshot(last_);
  Learning next;
  next.resume(SnapshotView::validate(bytes).value(), now_);
  SnapshotSpec same = spec_of(last_drains_);
  next.plan(same, now_ + seconds(10));
  ASSERT_EQ(same.pools[0].unsettled.size(), learning.size());
  for (size_t i = 0; i < learning.size(); ++i) {
    EXPECT_EQ(same.pools[0].unsettled[i].slot, learning[i].slot);
    EXPECT_EQ(same.pools[0].unsettled[i].base, learning[i].base);
    EXPECT_EQ(same.pools[0].unsettled[i].learning_s, learning[i].learning_s - 10);
  }
  next.accepted();
  SnapshotSpec back = spec_of(all_up_);
  next.plan(back, now_ + seconds(kWindow_s + 1));
  EXPECT_EQ(back.pools[0].unsettled.size(), learning.size()) << "they change once more";
}

}  // namespace
}  // namespace linimo
