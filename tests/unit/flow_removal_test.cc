// The seam between who asks for entries to be removed and the worker that owns their table: with real
// threads, every entry that is asked for goes, none else, and what was counted is what is gone. Run under
// ThreadSanitizer too.

#include "dataplane/flow/flow_removal.h"

#include <thread>

#include <gtest/gtest.h>

#include "tests/unit/flow_table_fixture.h"

namespace linimo {
namespace {

constexpr ConnectionTable::Service kWeb{.id = 1, .idle_timeout_s = 900};

/// What lies where, as another thread sees it.
std::vector<FlowPlace> places_of(const FlowTable& table, uint32_t backend) {
  std::vector<FlowPlace> places;
  for (uint64_t index = 0; index < table.size(); ++index) {
    const uint64_t word = table.at(index);
    if (linimo_flow_state(word) != LINIMO_FLOW_EMPTY && linimo_flow_backend(word) == backend)
      places.push_back({0, index, word});
  }
  return places;
}

TEST(FlowRemoval, RemovesWhatIsTheSameStill) {
  FlowTableFixture fixture(1000);
  ConnectionTable& table = fixture.table;
  for (uint64_t flow = 0; flow < 3; ++flow) table.insert(fixture.hash(flow), kWeb, 7, 10);
  const auto places = places_of(fixture.view(), 7);
  ASSERT_EQ(places.size(), 3U);
  FlowRemoval removal;
  EXPECT_EQ(removal.removed(), 0U) << "nothing was asked";
  table.touch(table.find(fixture.hash(0), kWeb, 12), true, false, 12);  // of the same backend still
  table.redirect(table.find(fixture.hash(1), kWeb, 12), 8);
  ASSERT_TRUE(removal.ask(places));
  EXPECT_EQ(removal.removed(), std::nullopt);
  EXPECT_FALSE(removal.ask(places)) << "one after the other";
  removal.serve(table);
  EXPECT_EQ(removal.removed(), 2U);
  EXPECT_EQ(table.entries(), 1U);
  EXPECT_EQ(table.connections_of(7), 0U);
  EXPECT_EQ(table.connections_of(8), 1U);
  ASSERT_TRUE(removal.ask(places)) << "they are gone";
  removal.serve(table);
  EXPECT_EQ(removal.removed(), 0U);
}

TEST(FlowRemoval, PlacesOutsideTheTableAreNone) {
  FlowTableFixture fixture(64);
  FlowRemoval removal;
  const FlowPlace place{0, uint64_t{1} << 40, 6};
  ASSERT_TRUE(removal.ask({&place, 1}));
  removal.serve(fixture.table);
  EXPECT_EQ(removal.removed(), 0U);
}

TEST(FlowRemoval, OwnerAndAskerAtTheSameTime) {
  constexpr uint64_t kFlows = 2000;
  constexpr size_t kRounds = 50;
  FlowTableFixture fixture(4 * kFlows);
  FlowRemoval removal;
  std::atomic<bool> running = true;
  std::thread owner([&] {
    for (uint64_t round = 0; running.load(std::memory_order_relaxed); ++round) {
      for (uint64_t flow = 0; flow < 64; ++flow) {  // odd ones stay with 8, even ones with 7
        const uint64_t number = (round * 64 + flow) % kFlows, hash = fixture.hash(number);
        if (const auto entry = fixture.table.find(hash, kWeb, 10)) {
          fixture.table.touch(entry, false, false, 10 + round % 2);
        } else {
          fixture.table.insert(hash, kWeb, 7 + number % 2, 10);
        }
      }
      removal.serve(fixture.table);
    }
  });
  size_t removed = 0;
  for (size_t round = 0; round < kRounds; ++round) {
    auto places = places_of(fixture.view(), 7);
    places.resize(std::min(places.size(), FlowRemoval::kMost));
    ASSERT_TRUE(removal.ask(places));
    while (!removal.removed()) std::this_thread::yield();
    EXPECT_EQ(*removal.removed(), places.size());
    removed += *removal.removed();
  }
  running = false;
  owner.join();
  EXPECT_GT(removed, 0U);
  EXPECT_EQ(fixture.table.entries(),
            places_of(fixture.view(), 7).size() + places_of(fixture.view(), 8).size());
  EXPECT_EQ(fixture.table.connections_of(7), places_of(fixture.view(), 7).size());
}

}  // namespace
}  // namespace linimo
