// Slots of an adaptive service: which are unsettled, for how long they send strangers to their base, and when
// they settle. Time is a number of seconds; also one that wraps.

#include "dataplane/flow/unsettled_slots.h"

#include <latch>
#include <thread>

#include <gtest/gtest.h>

namespace linimo {
namespace {

constexpr uint32_t kSize = 251, kWindow_s = 60, kWorkers = 2;
constexpr uint32_t kStart_s = ~0U - 30;  // wraps within the first window

/// A snapshot with one pool, some of whose slots are learning.
class Tables {
 public:
  explicit Tables(std::vector<UnsettledSpec> unsettled, size_t backends = 3, uint32_t size = kSize) {
    SnapshotSpec spec;
    spec.generation = 1;
    spec.encap_source4 = *Address::parse("10.0.0.11");
    PoolSpec pool;
    pool.name = "p";
    for (uint32_t i = 0; i < backends; ++i) pool.backends.push_back({address(i), i, 1, LINIMO_BACKEND_UP});
    pool.table = make_pool_table(pool.backends, size);
    pool.unsettled = std::move(unsettled);
    spec.pools = {pool};
    bytes_ = build_snapshot(spec);
    view_ = SnapshotView::validate(bytes_).value();
  }

  static Address address(uint32_t index) {
    Address address = *Address::parse("10.0.1.1");
    address.bytes[15] = static_cast<uint8_t>(index + 1);
    return address;
  }

  std::unique_ptr<UnsettledSlots> make(uint32_t now_s, const UnsettledSlots::Before& before = {}) const {
    return UnsettledSlots::make(*view_, view_->pools()[0], kWindow_s, kWorkers, now_s, before);
  }
  UnsettledSlots::Before as_before(const UnsettledSlots* slots) const {
    return {slots, &*view_, &view_->pools()[0]};
  }
  const SnapshotView& view() const { return *view_; }
  linimo_slot slot(uint32_t at) const { return view_->slots(view_->pools()[0])[at]; }

 private:
  std::vector<std::byte> bytes_;
  std::optional<SnapshotView> view_;
};

std::vector<uint32_t> unsettled(const UnsettledSlots& slots) {
  std::vector<uint32_t> found;
  for (uint32_t slot = 0; slot < kSize; ++slot) {
    if (slots.contains(slot)) found.push_back(slot);
  }
  return found;
}

const std::vector<UnsettledSpec> kThree = {
    {0, Tables::address(0), 20}, {64, Tables::address(1), 40}, {250, Tables::address(2), 40}};

TEST(UnsettledSlots, AreNoneWhereNothingIsListed) {
  EXPECT_EQ(Tables({}).make(kStart_s), nullptr);
}

TEST(UnsettledSlots, AreThoseListedAndHaveTheirBaseForTheirTime) {
  const auto slots = Tables(kThree).make(kStart_s);
  EXPECT_EQ(unsettled(*slots), (std::vector<uint32_t>{0, 64, 250}));
  EXPECT_EQ(slots->count(), 3);
  EXPECT_EQ(slots->base(0, kStart_s), 0);
  EXPECT_EQ(slots->base(64, kStart_s + 39), 1);
  EXPECT_EQ(slots->base(250, kStart_s + 39), 2);
  EXPECT_EQ(slots->base(0, kStart_s + 20), LINIMO_NO_BACKEND);
  EXPECT_EQ(slots->base(250, kStart_s + 40), LINIMO_NO_BACKEND);
}

TEST(UnsettledSlots, SettleAWindowAfterTheLastDeviation) {
  const auto slots = Tables(kThree).make(kStart_s);
  slots->deviated(1, 64, kStart_s + 50);
  slots->settle(kStart_s + kWindow_s);
  EXPECT_EQ(slots->count(), 3);
  slots->settle(kStart_s + kWindow_s + 1);
  EXPECT_EQ(unsettled(*slots), std::vector<uint32_t>{64});
  slots->settle(kStart_s + 50 + kWindow_s);
  EXPECT_EQ(slots->count(), 1);
  slots->settle(kStart_s + 50 + kWindow_s + 1);
  EXPECT_EQ(slots->count(), 0);
  EXPECT_EQ(unsettled(*slots), std::vector<uint32_t>{});
}

TEST(UnsettledSlots, TheLatestOfAllWorkersCounts) {
  const auto slots = Tables(kThree).make(kStart_s);
  slots->deviated(0, 64, kStart_s + 50);
  slots->deviated(1, 64, kStart_s + 40);
  slots->settle(kStart_s + 40 + kWindow_s + 1);
  EXPECT_TRUE(slots->contains(64));
}

TEST(UnsettledSlots, DoNotSettleWhileTheyLearn) {
  const Tables tables({{7, Tables::address(0), 1000}});
  const auto slots = tables.make(kStart_s);
  slots->settle(kStart_s + 999);
  EXPECT_TRUE(slots->contains(7));
  slots->settle(kStart_s + 1000);
  EXPECT_FALSE(slots->contains(7));
}

TEST(UnsettledSlots, AreCarriedOnWithTheirStampsWhereTheNextGenerationListsNone) {
  const Tables tables(kThree);
  const auto first = tables.make(kStart_s);
  first->deviated(0, 64, kStart_s + 30);
  const auto second = Tables({}).make(kStart_s + 45, tables.as_before(first.get()));
  EXPECT_EQ(unsettled(*second), (std::vector<uint32_t>{0, 64, 250}));
  EXPECT_EQ(second->base(64, kStart_s + 45), LINIMO_NO_BACKEND);
  second->settle(kStart_s + kWindow_s + 1);
  EXPECT_EQ(unsettled(*second), std::vector<uint32_t>{64});
  const auto third = Tables({}).make(kStart_s + 70, tables.as_before(second.get()));
  EXPECT_EQ(unsettled(*third), std::vector<uint32_t>{64}) << "what has settled stays so";
}

TEST(UnsettledSlots, AChangeCountsAsADeviation) {
  const Tables before(kThree);
  const auto first = before.make(kStart_s);
  const Tables changed({}, 2);
  const auto second = changed.make(kStart_s + 50, before.as_before(first.get()));
  second->settle(kStart_s + kWindow_s + 1);
  for (const UnsettledSpec& spec : kThree)
    EXPECT_EQ(second->contains(spec.slot), before.slot(spec.slot) != changed.slot(spec.slot)) << spec.slot;
}

TEST(UnsettledSlots, OfATableOfAnotherSizeAreForgotten) {
  const Tables before(kThree);
  const auto first = before.make(kStart_s);
  EXPECT_EQ(Tables({}, 3, 509).make(kStart_s + 1, before.as_before(first.get())), nullptr);
}

// As when a process that starts takes over what another has left, or the host gets another address.
TEST(UnsettledSlots, OfTheVerySameSnapshotGoOnAsTheyWere) {
  const Tables tables(kThree);
  const auto first = tables.make(kStart_s);
  first->deviated(0, 64, kStart_s + 30);
  first->settle(kStart_s + kWindow_s + 1);
  const auto second = tables.make(kStart_s + kWindow_s + 2, tables.as_before(first.get()));
  EXPECT_EQ(unsettled(*second), std::vector<uint32_t>{64});
  EXPECT_EQ(second->base(64, kStart_s + kWindow_s + 2), LINIMO_NO_BACKEND);
  second->settle(kStart_s + 30 + kWindow_s + 1);
  EXPECT_EQ(second->count(), 0);
  const auto early = tables.make(kStart_s + 10, tables.as_before(tables.make(kStart_s).get()));
  EXPECT_EQ(early->base(64, kStart_s + 39), 1);
  EXPECT_EQ(early->base(64, kStart_s + 40), LINIMO_NO_BACKEND) << "the window began anew";
}

TEST(UnsettledSlots, AreFoundInTheirMemoryByWhoeverComesNext) {
  const Tables tables(kThree);
  const SnapshotView view = tables.view();
  const UnsettledSlots::Plan plan(view, view.pools()[0], kWindow_s, {});
  std::vector<linimo_unsettled_head> lines(plan.bytes(kWorkers) / sizeof(linimo_unsettled_head));
  auto* memory = reinterpret_cast<std::byte*>(lines.data());
  UnsettledSlots made(plan, kWorkers, {.now = kStart_s, .units = [](uint32_t s) { return 2 * s; }}, memory);
  made.deviated(1, 64, kStart_s + 100);
  made.settle(kStart_s + 2 * kWindow_s + 1);
  UnsettledSlots found(memory);
  EXPECT_EQ(unsettled(found), std::vector<uint32_t>{64});
  EXPECT_EQ(found.count(), 1);
  EXPECT_EQ(found.base(64, kStart_s + 79), 1);
  EXPECT_EQ(found.base(64, kStart_s + 80), LINIMO_NO_BACKEND);
  found.settle(kStart_s + 100 + 2 * kWindow_s);
  EXPECT_EQ(found.count(), 1);
  found.settle(kStart_s + 100 + 2 * kWindow_s + 1);
  EXPECT_EQ(found.count(), 0);
}

// Until the last worker has left the old generation, it stamps there.
TEST(UnsettledSlots, TakeWhatWasStampedInTheGenerationBefore) {
  const Tables tables(kThree);
  const auto first = tables.make(kStart_s);
  const auto second = Tables({}).make(kStart_s + 10, tables.as_before(first.get()));
  first->deviated(1, 64, kStart_s + 11);
  second->deviated(1, 250, kStart_s + 12);
  first->deviated(1, 250, kStart_s + 11);
  second->take_stamps(*first);
  second->settle(kStart_s + 11 + kWindow_s);
  EXPECT_EQ(unsettled(*second), (std::vector<uint32_t>{64, 250}));
  second->settle(kStart_s + 12 + kWindow_s);
  EXPECT_EQ(unsettled(*second), std::vector<uint32_t>{250});
}

// A table of another size has other slots by the same numbers, and another number of workers other stamps.
TEST(UnsettledSlots, TakeNoStampsOfWhatIsShapedOtherwise) {
  const Tables tables(kThree);
  const auto slots = tables.make(kStart_s);
  const auto larger = Tables(kThree, 3, 509).make(kStart_s);
  const auto of_one_worker =
      UnsettledSlots::make(tables.view(), tables.view().pools()[0], kWindow_s, 1, kStart_s, {});
  larger->deviated(0, 64, kStart_s + 50);
  of_one_worker->deviated(0, 64, kStart_s + 50);
  slots->take_stamps(*larger);
  slots->take_stamps(*of_one_worker);
  slots->settle(kStart_s + kWindow_s + 1);
  EXPECT_EQ(slots->count(), 0);
}

// Workers look up and stamp while the control thread carries on and settles (for ThreadSanitizer).
TEST(UnsettledSlots, MayBeUsedByWorkersMeanwhile) {
  const Tables tables(kThree);
  const auto first = tables.make(0);
  std::atomic<bool> over = false;
  std::latch running(kWorkers);
  std::vector<std::thread> workers;
  for (uint32_t worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&, worker] {
      for (uint32_t now_s = 0; !over; ++now_s) {
        const uint32_t slot = now_s % kSize;
        if (first->contains(slot) && first->base(slot, now_s) != 7) first->deviated(worker, slot, now_s);
        if (now_s == kSize) running.count_down();
      }
    });
  }
  running.wait();
  for (uint32_t now_s = 0; now_s < 3000; ++now_s) {
    first->settle(now_s);
    if (const auto next = tables.make(now_s, tables.as_before(first.get()))) next->take_stamps(*first);
  }
  over = true;
  for (std::thread& worker : workers) worker.join();
}

}  // namespace
}  // namespace linimo
