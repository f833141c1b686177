// Connection tracking: what is remembered, for how long, and who has to make room for whom.

#include "dataplane/flow/connection_table.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace linimo {
namespace {

constexpr ConnectionTable::Service kWeb{.id = 1, .idle_timeout_s = 900};
constexpr ConnectionTable::Service kDns{.id = 2, .idle_timeout_s = 60};

class ConnectionTableTest : public testing::Test {
 protected:
  struct alignas(64) Line {
    std::byte bytes[64];
  };

  ConnectionTable& make(uint64_t flows) {
    memory_.assign(ConnectionTable::bytes_for(flows) / sizeof(Line), Line{});
    table_ = std::make_unique<ConnectionTable>(
        flows, std::span(memory_.data()->bytes, memory_.size() * sizeof(Line)));
    return *table_;
  }
  uint64_t hash() { return random_(); }

  std::mt19937_64 random_{1};
  std::vector<Line> memory_;
  std::unique_ptr<ConnectionTable> table_;
  std::unique_ptr<WorkerCounters> counters_ = std::make_unique<WorkerCounters>();
  FlowCensus census_{*counters_};
};

// A flow is found with the backend that it was stored with, by its own service only.
TEST_F(ConnectionTableTest, RemembersTheBackend) {
  auto& table = make(1000);
  const uint64_t flow = hash();
  EXPECT_EQ(table.find(flow, kWeb, 10), nullptr);
  ASSERT_TRUE(table.insert(flow, kWeb, 262143, 10));
  const auto entry = table.find(flow, kWeb, 10);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(ConnectionTable::backend_id(entry), 262143U);
  EXPECT_EQ(table.find(flow, kDns, 10), nullptr);
  table.redirect(entry, 7);
  EXPECT_EQ(ConnectionTable::backend_id(table.find(flow, kWeb, 10)), 7U);
}

// As in memory that an earlier process has left: the state alone says whether there is an entry.
TEST_F(ConnectionTableTest, AnEmptyPlaceIsNobodysWhateverElseItHolds) {
  auto& table = make(1000);
  const uint64_t flow = hash();
  ASSERT_TRUE(table.insert(flow, kWeb, 7, 10));
  uint64_t* const entry = table.find(flow, kWeb, 10);
  ASSERT_NE(entry, nullptr);
  *entry &= ~uint64_t{LINIMO_FLOW_STATE_MASK};
  EXPECT_EQ(table.find(flow, kWeb, 10), nullptr);
  EXPECT_EQ(table.peek(flow, kWeb, 10), std::nullopt);
  EXPECT_EQ(table.peek_word(flow, kWeb, 10), 0U);
}

// What a scheduler asks for: flows by backend, of all services, but those that have said FIN.
TEST_F(ConnectionTableTest, CountsTheConnectionsOfEachBackend) {
  auto& table = make(1000);
  const auto counts = [&] { return std::vector{table.connections_of(7), table.connections_of(8)}; };
  const uint64_t flow = hash();
  table.insert(flow, kWeb, 7, 0);
  table.insert(hash(), kDns, 7, 0);
  const auto entry = table.find(flow, kWeb, 0);
  EXPECT_EQ(counts(), (std::vector{2U, 0U}));
  table.redirect(entry, 8);
  EXPECT_EQ(counts(), (std::vector{1U, 1U}));
  for (const uint32_t now : {1U, 2U, 3U}) table.touch(entry, true, false, now);
  EXPECT_EQ(counts(), (std::vector{1U, 0U})) << "closed once";
  table.redirect(entry, 7);
  EXPECT_EQ(counts(), (std::vector{1U, 0U})) << "and for good";
  ASSERT_TRUE(table.insert(flow, kWeb, 8, 100)) << "in place of the expired one";
  EXPECT_EQ(counts(), (std::vector{1U, 1U}));

  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kWeb.id] = {900, true};
  services[kDns.id] = {60, false};
  table.sweep(table.buckets(), services, 100, census_);
  EXPECT_EQ(counts(), (std::vector{0U, 1U})) << "what expired is gone";
}

// An entry lives for the idle timeout after its last packet, not after its first.
TEST_F(ConnectionTableTest, ExpiresAfterTheIdleTimeout) {
  auto& table = make(1000);
  const uint64_t flow = hash();
  table.insert(flow, kWeb, 1, 100);
  table.touch(table.find(flow, kWeb, 800), false, false, 800);
  EXPECT_NE(table.find(flow, kWeb, 1700), nullptr);
  EXPECT_EQ(table.find(flow, kWeb, 1701), nullptr);
}

// FIN shortens an entry to 60 s after its last packet; later packets keep it there.
TEST_F(ConnectionTableTest, FinShortensTo60Seconds) {
  auto& table = make(1000);
  const uint64_t flow = hash();
  table.insert(flow, kWeb, 1, 100);
  table.touch(table.find(flow, kWeb, 101), true, false, 101);
  EXPECT_NE(table.find(flow, kWeb, 161), nullptr);
  table.touch(table.find(flow, kWeb, 161), false, false, 161);
  EXPECT_NE(table.find(flow, kWeb, 221), nullptr);
  EXPECT_EQ(table.find(flow, kWeb, 222), nullptr);
}

// The clock may wrap within a stamp: what the sweep keeps clear cannot come back to life.
TEST_F(ConnectionTableTest, SweepClearsWhatExpired) {
  auto& table = make(1000);
  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kWeb.id] = {900, true};
  const uint64_t flow = hash();
  table.insert(flow, kWeb, 1, 0);
  for (uint32_t now = 0; now < 10000; now += 100) table.sweep(table.buckets(), services, now, census_);
  EXPECT_EQ(table.entries(), 0U);
  for (uint32_t now = 0; now < 10000; ++now) ASSERT_EQ(table.find(flow, kWeb, now), nullptr) << now;
}

// Each backend's flows are counted anew in every round, TCP's and UDP's apart, and published at its end.
TEST_F(ConnectionTableTest, SweepCountsTheFlowsOfBackends) {
  auto& table = make(1000);
  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kWeb.id] = {900, true};
  services[kDns.id] = {60, false};
  for (int i = 0; i < 5; ++i) table.insert(hash(), kWeb, 7, 0);
  for (int i = 0; i < 3; ++i) table.insert(hash(), kDns, 7, 0);
  table.insert(hash(), kDns, 262143, 0);
  const auto flows = [&](uint32_t id) {
    return std::pair(counters_->backends[id].tcp_flows, counters_->backends[id].udp_flows);
  };
  table.sweep(table.buckets() - 1, services, 10, census_);
  EXPECT_EQ(flows(7), std::pair(0U, 0U)) << "a round is not over";
  EXPECT_EQ(counters_->census_rounds, 0U);
  table.sweep(1, services, 10, census_);
  EXPECT_EQ(flows(7), std::pair(5U, 3U));
  EXPECT_EQ(flows(262143), std::pair(0U, 1U));
  EXPECT_EQ(counters_->census_rounds, 1U);
  table.sweep(table.buckets(), services, 100, census_);
  EXPECT_EQ(flows(7), std::pair(5U, 0U)) << "UDP's idle timeout is over";
  EXPECT_EQ(flows(262143), std::pair(0U, 0U));

  FlowCensus successor(*counters_, true);  // of a process that takes the table over
  EXPECT_EQ(flows(7), std::pair(5U, 0U));
  table.sweep(table.buckets(), services, 901, successor);
  EXPECT_EQ(flows(7), std::pair(0U, 0U));
  EXPECT_EQ(counters_->census_rounds, 3U);
}

// A connection that has ended by a FIN keeps its entry for what is sent again, and is not counted as one that
// somebody would wait for. One that is closed in one direction alone goes on sending, and is.
TEST_F(ConnectionTableTest, SweepDoesNotCountWhatHasEnded) {
  auto& table = make(1000);
  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kWeb.id] = {900, true};
  const uint64_t ended = hash(), half_closed = hash(), open = hash();
  for (const uint64_t flow : {ended, half_closed, open}) table.insert(flow, kWeb, 7, 0);
  for (const uint64_t flow : {ended, half_closed}) table.touch(table.find(flow, kWeb, 10), true, false, 10);
  const auto counted = [&](uint32_t now) {
    table.sweep(table.buckets(), services, now, census_);
    return counters_->backends[7].tcp_flows;
  };
  EXPECT_EQ(counted(20), 3U);
  table.touch(table.find(half_closed, kWeb, 20), false, false, 20);
  EXPECT_EQ(counted(21), 2U);
  EXPECT_EQ(counted(31), 1U);
  EXPECT_EQ(table.entries(), 3U);
  EXPECT_NE(table.find(ended, kWeb, 31), nullptr);
  table.touch(table.find(ended, kWeb, 40), false, true, 40);
  EXPECT_EQ(counted(60), 2U) << "another connection from its port";
}

// The entries of a service that is gone go with it.
TEST_F(ConnectionTableTest, SweepForgetsRemovedServices) {
  auto& table = make(1000);
  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kWeb.id] = {900, true};
  const uint64_t web = hash();
  table.insert(web, kWeb, 1, 0);
  table.insert(hash(), kDns, 2, 0);
  table.sweep(table.buckets(), services, 1, census_);
  EXPECT_EQ(table.entries(), 1U);
  EXPECT_NE(table.find(web, kWeb, 1), nullptr);
}

// Of as many flows as it was made for no more than 0.1 % find no place, at no more than 12 bytes a flow,
// however many they are.
TEST_F(ConnectionTableTest, StoresAlmostEveryFlowItWasMadeFor) {
  for (const uint64_t flows : {349'525, 350'000, 500'000, 1 << 20}) {
    auto& table = make(flows);
    uint64_t unstored = 0;
    for (uint64_t i = 0; i < flows; ++i) unstored += !table.insert(hash(), kWeb, 1, 10);
    EXPECT_LE(unstored, flows / 1000) << flows;
    EXPECT_LE(double(ConnectionTable::bytes_for(flows)) / double(flows), 12.01) << flows;
  }
}

// Every stored flow is found, also those in their second bucket; unknown flows are taken for others' at most
// at the rate that the header states.
TEST_F(ConnectionTableTest, FindsAllAndMistakesFew) {
  auto& table = make(100'000);
  std::vector<uint64_t> flows;
  for (uint32_t i = 0; i < 100'000; ++i) {
    const uint64_t flow = hash();
    if (table.insert(flow, kWeb, i, 10)) flows.push_back(flow);
  }
  for (const uint64_t flow : flows) ASSERT_NE(table.find(flow, kWeb, 10), nullptr);
  uint64_t mistaken = 0;
  constexpr uint64_t kTries = 2'000'000;
  for (uint64_t i = 0; i < kTries; ++i) mistaken += table.find(hash(), kWeb, 10) != nullptr;
  EXPECT_LE(double(mistaken) / kTries, 1.6e-5);
  EXPECT_GT(mistaken, 0U);  // the odds are small, not zero: a test that saw none would measure nothing
}

// A flood of new flows to one service takes nothing from another within its share, and nothing that is
// younger than three seconds; the flood's own embryonic entries make room for each other.
TEST_F(ConnectionTableTest, FloodTakesNothingFromOthers) {
  auto& table = make(4096);
  std::vector<uint64_t> others;
  for (uint32_t i = 0; i < 1000; ++i) {
    const uint64_t flow = hash();
    if (table.insert(flow, kDns, i, 100)) others.push_back(flow);
  }
  uint32_t stored_late = 0;
  for (uint32_t now = 101; now < 150; ++now) {
    for (const uint64_t flow : others) {
      const auto entry = table.find(flow, kDns, now);
      ASSERT_NE(entry, nullptr) << now;
      table.touch(entry, false, false, now);
    }
    for (uint32_t i = 0; i < 5000; ++i) stored_late += table.insert(hash(), kWeb, 1, now) && now > 140;
  }
  for (const uint64_t flow : others) EXPECT_NE(table.find(flow, kDns, 150), nullptr);
  EXPECT_GT(stored_late, 0U);
  EXPECT_LE(table.entries(), table.capacity());
}

// A service above its share gives way to one below.
TEST_F(ConnectionTableTest, ServiceAboveItsShareGivesWay) {
  auto& table = make(4096);
  for (uint32_t i = 0; i < 100'000; ++i) table.insert(hash(), kWeb, 1, 100);
  ASSERT_GT(table.entries_of(kWeb.id), table.capacity() * 9 / 10);
  uint32_t stored = 0;
  for (uint32_t i = 0; i < 1000; ++i) stored += table.insert(hash(), kDns, 2, 110);
  EXPECT_EQ(stored, 1000U);
}

// Whoever asks before it chooses a backend is told what would become of the flow.
TEST_F(ConnectionTableTest, HasRoomForWhatItWouldStore) {
  auto& table = make(64);
  std::vector<uint64_t> stored;
  uint32_t refused = 0;
  for (uint32_t i = 0; i < 1000; ++i) {
    const uint64_t flow = hash();
    const bool room = table.has_room(flow, kWeb, 100);
    ASSERT_EQ(table.insert(flow, kWeb, 1, 100), room) << i;
    if (room)
      stored.push_back(flow);
    else
      ++refused;
  }
  EXPECT_GT(refused, 0U);
  for (const uint64_t flow : stored) EXPECT_TRUE(table.has_room(flow, kWeb, 100)) << "in its own place";
}

// Established flows outlive embryonic ones of their own service.
TEST_F(ConnectionTableTest, EmbryonicEntriesGoFirst) {
  auto& table = make(64);
  std::vector<uint64_t> established;
  for (uint32_t i = 0; i < 20; ++i) {
    const uint64_t flow = hash();
    ASSERT_TRUE(table.insert(flow, kWeb, 1, 100));
    table.touch(table.find(flow, kWeb, 102), false, false, 102);
    established.push_back(flow);
  }
  for (uint32_t now = 110; now < 150; now += 4) {
    for (uint32_t i = 0; i < 200; ++i) table.insert(hash(), kWeb, 2, now);
  }
  uint32_t kept = 0;
  for (const uint64_t flow : established) kept += table.find(flow, kWeb, 150) != nullptr;
  EXPECT_GE(kept, 18U);  // a bucket may have held nothing but established flows
}

// Counts agree with what is stored, whatever happens.
TEST_F(ConnectionTableTest, CountsStayRight) {
  auto& table = make(512);
  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kWeb.id] = {900, true};
  services[kDns.id] = {60, false};
  for (uint32_t i = 0; i < 200'000; ++i) {
    const uint32_t now = i / 100;
    table.insert(random_() % 2000 * 0x9e3779b97f4a7c15, random_() % 2 ? kWeb : kDns, 1, now);
    if (i % 50 == 0) table.sweep(16, services, now, census_);
    ASSERT_EQ(table.entries(), table.entries_of(kWeb.id) + table.entries_of(kDns.id));
    ASSERT_LE(table.entries(), table.capacity());
  }
  table.sweep(table.buckets(), std::vector<SweptService>(LINIMO_MAX_SERVICES), 0, census_);
  EXPECT_EQ(table.entries(), 0U);
}

}  // namespace
}  // namespace linimo
