// Who gets a new flow where the scheduler keeps state: shares, in the long run and in a short one.

#include "dataplane/forward/scheduler.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "maglev/snapshot.h"

namespace linimo {
namespace {

constexpr uint32_t kTableSize = 65537;
constexpr ConnectionTable::Service kService{7, 900};

class SchedulerTest : public testing::Test {
 protected:
  /// A pool whose backends have these weights; 0: it drains.
  void make(linimo_scheduler by, const std::vector<uint32_t>& weights, bool fresh = true) {
    PoolSpec pool{.name = "p", .backends = {}, .table = {}};
    for (uint32_t i = 0; i < weights.size(); ++i) {
      Address address = *Address::parse("10.0.1.0");
      address.bytes[14] = static_cast<uint8_t>(i >> 8);
      address.bytes[15] = static_cast<uint8_t>(i);
      pool.backends.push_back({.address = address, .id = kFirstId + i, .weight = weights[i]});
    }
    pool.table = make_pool_table(pool.backends, kTableSize);
    SnapshotSpec spec;
    spec.encap_source4 = *Address::parse("10.0.0.1");
    spec.pools = {pool};
    bytes_ = build_snapshot(spec);
    const SnapshotView view = *SnapshotView::validate(bytes_);
    schedule_ = std::make_unique<Schedule>(by, view.members(view.pools()[0]), view.slots());
    backends_ = view.members(view.pools()[0]);
    if (fresh) {
      memory_.assign(ConnectionTable::bytes_for(kFlows) / sizeof(Line), {});
      table_ = std::make_unique<ConnectionTable>(kFlows, std::as_writable_bytes(std::span(memory_)));
      scheduler_ = std::make_unique<Scheduler>(*table_);
    }
  }

  /// A new flow, which then is in the table. The index of its backend in the order of the weights.
  uint32_t begin() {
    const uint64_t hash = random_();
    const linimo_slot member = scheduler_->next(*schedule_, kService.id, hash);
    const uint32_t id = backends_[member].id;
    EXPECT_TRUE(table_->insert(hash, kService, id, kNow));
    flows_.emplace_back(hash, id - kFirstId);
    return id - kFirstId;
  }
  std::vector<uint32_t> begin(uint32_t flows, size_t backends) {
    std::vector<uint32_t> counts(backends);
    for (uint32_t i = 0; i < flows; ++i) ++counts[begin()];
    return counts;
  }
  void end(uint64_t hash) { table_->touch(table_->find(hash, kService, kNow), true, false, kNow); }

  static constexpr uint64_t kFlows = 200'000;
  static constexpr uint32_t kFirstId = 1000, kNow = 100;

  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<std::byte> bytes_;
  std::span<const linimo_backend> backends_;
  std::vector<Line> memory_;
  std::unique_ptr<ConnectionTable> table_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Schedule> schedule_;
  std::vector<std::pair<uint64_t, uint32_t>> flows_;  // hash, backend
  std::mt19937_64 random_{1};
};

TEST_F(SchedulerTest, RoundRobinTakesMembersInTurnWhateverTheyWeigh) {
  make(LINIMO_SCHEDULER_ROUND_ROBIN, {1, 100, 0, 7});
  for (int round = 0; round < 3; ++round) {
    for (const uint32_t wanted : {0U, 1U, 3U}) EXPECT_EQ(begin(), wanted);
  }
}

TEST_F(SchedulerTest, ATurnIsNotLostWhenTheGenerationChanges) {
  make(LINIMO_SCHEDULER_ROUND_ROBIN, {1, 1, 1});
  EXPECT_EQ(begin(), 0U);
  make(LINIMO_SCHEDULER_ROUND_ROBIN, {1, 1, 1}, false);
  EXPECT_EQ(begin(), 1U);
  EXPECT_EQ(scheduler_->next(*schedule_, kService.id + 1, 0), 0U) << "each service has turns of its own";
  EXPECT_EQ(begin(), 2U);
}

TEST_F(SchedulerTest, WithoutMembersThereIsNoAnswer) {
  for (const auto by : {LINIMO_SCHEDULER_ROUND_ROBIN, LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN,
                        LINIMO_SCHEDULER_LEAST_CONNECTIONS}) {
    make(by, {0, 0});
    EXPECT_EQ(scheduler_->next(*schedule_, kService.id, 5), LINIMO_NO_BACKEND);
  }
}

// Every stretch of turns is a difference of two beginnings, so this bounds any short run as well.
TEST_F(SchedulerTest, WeightedRoundRobinIsNeverMoreThanAFewTurnsFromTheShares) {
  std::vector<uint32_t> many(100);
  for (uint32_t i = 0; i < many.size(); ++i) many[i] = 1 + i % 10;
  const std::vector<uint32_t> pools[] = {
      {1, 2, 3}, {1, 1}, {100, 1, 0, 100}, {4'000'000'000, 4'000'000'000, 1}, many};
  for (const std::vector<uint32_t>& weights : pools) {
    make(LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN, weights);
    double sum = 0;
    for (const uint32_t weight : weights) sum += weight;
    std::vector<uint32_t> counts(weights.size());
    double most = 0;
    for (uint32_t turn = 1; turn <= 100'000; ++turn) {
      ++counts[backends_[scheduler_->next(*schedule_, kService.id, 0)].id - kFirstId];
      for (size_t i = 0; i < weights.size(); ++i)
        most = std::max(most, std::abs(counts[i] - turn * (weights[i] / sum)));
    }
    EXPECT_LT(most, 4) << weights.size() << " backends";
    for (size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(weights[i] != 0 || counts[i] == 0);
  }
}

TEST_F(SchedulerTest, LeastConnectionsFillsWhatIsEmptier) {
  make(LINIMO_SCHEDULER_LEAST_CONNECTIONS, {0, 1});
  begin(50, 2);
  make(LINIMO_SCHEDULER_LEAST_CONNECTIONS, {1, 1}, false);
  EXPECT_EQ(begin(50, 2), (std::vector<uint32_t>{50, 0})) << "until it has as many";
  const auto next = begin(100, 2);
  EXPECT_EQ(next[0], 50U);
}

TEST_F(SchedulerTest, LeastConnectionsKeepsConnectionsByWeight) {
  const std::vector<uint32_t> weights = {1, 2, 3, 4, 10};
  make(LINIMO_SCHEDULER_LEAST_CONNECTIONS, weights);
  const auto counts = begin(20'000, weights.size());
  // The fullest is at most log2(log2(5)) + O(1) flows for its weight above the mean (Mitzenmacher); chance
  // alone would be off by sqrt(1000), and more.
  for (size_t i = 0; i < weights.size(); ++i)
    EXPECT_NEAR(counts[i], 1000.0 * weights[i], 4.0 * weights[i]) << i;
}

// What the scheduler is for: a backend whose connections last gets fewer of them.
TEST_F(SchedulerTest, LeastConnectionsNoticesWhoseConnectionsEnd) {
  make(LINIMO_SCHEDULER_LEAST_CONNECTIONS, {1, 1, 1, 1});
  begin(1000, 4);
  uint32_t ended = 0;
  for (const auto& [hash, backend] : flows_) {
    if (backend == 2 && ended++ < 200) end(hash);
  }
  EXPECT_EQ(table_->entries(), 1000U) << "still there, and not counted";
  EXPECT_GT(begin(200, 4)[2], 75U) << "as often as it is drawn: of two out of four, half of the time";
  begin(1000, 4);
  for (uint32_t backend = 0; backend < 4; ++backend)
    EXPECT_NEAR(table_->connections_of(kFirstId + backend), 500, 4) << backend;
}

TEST_F(SchedulerTest, LeastConnectionsGoesByWeightWhileNothingIsOpen) {
  make(LINIMO_SCHEDULER_LEAST_CONNECTIONS, {1, 3});
  std::vector<uint32_t> counts(2);
  for (int i = 0; i < 10'000; ++i)
    ++counts[backends_[scheduler_->next(*schedule_, kService.id, random_())].id - kFirstId];
  EXPECT_NEAR(counts[0], 2500, 5 * 43);  // five standard deviations
}

// Slots may name any backend of the pool, and it is not the worker's business to believe more.
TEST_F(SchedulerTest, ATableThatNamesOthersThanMembersIsTakenAtItsWord) {
  make(LINIMO_SCHEDULER_LEAST_CONNECTIONS, {1, 0});
  const std::vector<linimo_slot> slots(11, 1);
  const Schedule odd(LINIMO_SCHEDULER_LEAST_CONNECTIONS, backends_, slots);
  EXPECT_EQ(scheduler_->next(odd, kService.id, random_()), 1U);
}

}  // namespace
}  // namespace linimo
