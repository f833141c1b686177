// What nodes have told each other of flows: how long it is known, and that it takes no more room than there
// is.

#include "dataplane/flow/told_flows.h"

#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/flow/flow_words.h"
#include "dataplane/forward/flow_sharing.h"
#include "tests/unit/snapshot_fixture.h"

namespace linimo {
namespace {

constexpr uint32_t kService = 3, kIdle_s = 900;

linimo_flow_word word(uint64_t hash, uint32_t backend, bool ended = false) {
  return {hash, backend, kService, static_cast<uint8_t>(ended ? 1 : 0), 0};
}

uint32_t backend(const ToldFlows& told, uint64_t hash, uint32_t now) {
  const uint64_t found = told.find(hash, kService, kIdle_s, now);
  return found == 0 ? ~0U : linimo_flow_backend(found);
}

TEST(ToldFlows, AreKnownForAThirdLongerThanTheirIdleTimeout) {
  ToldFlows told(1000);
  std::mt19937_64 random(1);
  const uint64_t flow = random();
  EXPECT_TRUE(told.note(word(flow, 7), kIdle_s, 100));
  EXPECT_FALSE(told.note(word(flow, 7), kIdle_s, 101)) << "no news";
  EXPECT_EQ(backend(told, flow, 100 + 1200), 7U);
  EXPECT_EQ(backend(told, flow, 100 + 1203), ~0U);
  EXPECT_TRUE(told.note(word(flow, 8), kIdle_s, 102));
  EXPECT_EQ(backend(told, flow, 102), 8U);
  EXPECT_TRUE(told.note(word(flow, 8, true), kIdle_s, 103));
  EXPECT_FALSE(told.note(word(flow, 8, true), kIdle_s, 104));
  EXPECT_EQ(backend(told, flow, 103 + 59), 8U) << "what was lost is sent again";
  EXPECT_EQ(backend(told, flow, 103 + 63), ~0U);
  EXPECT_FALSE(told.note(word(random(), 9, true), kIdle_s, 104)) << "nobody knew of it";
}

TEST(ToldFlows, AFloodOfWordsTakesNoMoreRoomThanThereIs) {
  ToldFlows told(1000);
  std::mt19937_64 random(2);
  uint32_t now = 100;
  for (int i = 0; i < 100'000; ++i) {
    if (i % 100 == 0) ++now;
    told.note(word(random(), static_cast<uint32_t>(i % 100)), kIdle_s, now);
  }
  EXPECT_LE(told.entries(), told.buckets() * LINIMO_FLOW_BUCKET);
  const uint64_t newest = random();
  told.note(word(newest, 5), kIdle_s, now + 5);
  EXPECT_EQ(backend(told, newest, now + 5), 5U) << "the oldest make room";
}

TEST(ToldFlows, TheSweepClearsWhatHasExpiredAndServicesThatAreGone) {
  ToldFlows told(1000);
  std::mt19937_64 random(3);
  for (int i = 0; i < 100; ++i) told.note(word(random(), 1), kIdle_s, 100);
  std::vector<SweptService> services(LINIMO_MAX_SERVICES);
  services[kService] = {kIdle_s, true};
  told.sweep(told.buckets(), services, 1000);
  EXPECT_EQ(told.entries(), 100U);
  told.sweep(told.buckets(), services, 1301);
  EXPECT_EQ(told.entries(), 0U);
  for (int i = 0; i < 100; ++i) told.note(word(random(), 1), kIdle_s, 1301);
  services[kService] = {};
  told.sweep(told.buckets(), services, 1301);
  EXPECT_EQ(told.entries(), 0U);
}

TEST(ToldFlows, WhatAnEarlierProcessHasLeftIsKnown) {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> lines(ConnectionTable::bytes_for(1000) / sizeof(Line));
  const std::span<std::byte> memory(lines.data()->bytes, lines.size() * sizeof(Line));
  ToldFlows(1000, memory).note(word(1ULL << 63, 7), kIdle_s, 100);
  ToldFlows again(1000, memory);
  EXPECT_EQ(again.entries(), 1U);
  EXPECT_EQ(backend(again, 1ULL << 63, 100), 7U);
  std::memset(memory.data(), 0xff, memory.size());
  EXPECT_LE(ToldFlows(1000, memory).entries(), again.buckets() * LINIMO_FLOW_BUCKET) << "whatever it is";
}

TEST(FlowWords, ComeOutAsTheyWentInAsManyAsThereIsRoomFor) {
  const auto ring = std::make_unique<FlowWords>();
  linimo_flow_word taken;
  for (uint64_t round = 0; round < 3; ++round) {
    uint64_t in = 0;
    while (ring->push(word(in, 1))) ++in;
    EXPECT_EQ(in, FlowWords::kMost);
    for (uint64_t out = 0; out < in; ++out) {
      ASSERT_TRUE(ring->pop(taken));
      EXPECT_EQ(taken.hash, out);
    }
    EXPECT_FALSE(ring->pop(taken));
  }
}

TEST(FlowWords, OneThreadMayPushWhileAnotherPops) {
  constexpr uint64_t kWords = 20'000;
  const auto ring = std::make_unique<FlowWords>();
  std::thread worker([&] {
    for (uint64_t next = 0; next < kWords;) {
      if (ring->push(word(next, static_cast<uint32_t>(next))))
        ++next;
      else
        std::this_thread::yield();
    }
  });
  linimo_flow_word taken;
  for (uint64_t next = 0; next < kWords;) {
    if (!ring->pop(taken)) {
      std::this_thread::yield();
      continue;
    }
    if (taken.hash != next || taken.backend != next) ADD_FAILURE() << taken.hash << " instead of " << next;
    ++next;
  }
  worker.join();
}

class FlowSharingTest : public testing::Test {
 protected:
  static constexpr uint32_t kSharing = 0, kOther = 5;  // services
  static constexpr uint32_t kUnsettled = 9;            // a slot

  FlowSharingTest() {
    SnapshotSpec spec = two_services();
    spec.services[0].tracking = LINIMO_TRACKING_ADAPTIVE;
    spec.services[0].shares_flows = true;
    spec.pools.push_back(pool("nodes", {{address("10.0.0.12"), 9, 1, LINIMO_BACKEND_UP}}));
    spec.pools[1].encapsulation = LINIMO_ENCAP_GRE;
    spec.has_node_pool = true;
    const auto allocate = [](size_t bytes) {
      auto* memory = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
      return Generation::Block(Generation::Memory(memory, [](std::byte* block) { std::free(block); }));
    };
    live_ = Generation::compile(build_snapshot(spec), allocate, {}, {.before = nullptr}).value();
  }

  uint64_t told(uint64_t hash, uint32_t now_s) const {
    const ServiceView& service = *live_->service_of_id(kSharing);
    return sharing_.told()->find(hash, kSharing, service.tracking_key.idle_timeout_s, now_s);
  }
  /// A flow whose slot is, or is not, settled.
  uint64_t flow(bool settled) {
    const ServiceView& service = *live_->service_of_id(kSharing);
    while (true) {
      const uint64_t hash = random_();
      if (service.is_settled(slot_of(hash, service.table_size)) == settled) return hash;
    }
  }

  std::unique_ptr<const Generation> live_;
  std::mt19937_64 random_{4};
  FlowSharing sharing_{1000, 2};
};

TEST_F(FlowSharingTest, TakesFromEachWorkerWhatIsNewsAndNoMoreThanIsWanted) {
  const uint64_t known = random_();
  for (uint32_t worker = 0; worker < 2; ++worker) {
    ASSERT_TRUE(sharing_.words(worker)->push({known, 1, kSharing, 0, 0}));
    ASSERT_TRUE(sharing_.words(worker)->push({random_(), 1, kSharing, 0, 0}));
    ASSERT_TRUE(sharing_.words(worker)->push({random_(), 1, kOther, 0, 0}));        // it does not share
    ASSERT_TRUE(sharing_.words(worker)->push({random_(), 1, kSharing + 1, 0, 0}));  // none is live
    ASSERT_TRUE(sharing_.words(worker)->push({random_(), LINIMO_MAX_BACKEND_IDS, kSharing, 0, 0}));
  }
  EXPECT_EQ(sharing_.take(1, *live_, 100).size(), 1U);
  const auto rest = sharing_.take(100, *live_, 100);
  ASSERT_EQ(rest.size(), 2U) << "what one worker has told is no news from the other";
  for (const linimo_flow_word& word : rest) EXPECT_NE(word.hash, known);
  EXPECT_NE(told(known, 100), 0U) << "one's own flows are known here as well";
}

TEST_F(FlowSharingTest, HearsOnlyOfWhatIsLiveAndShares) {
  const uint64_t heard = random_();
  const linimo_flow_word words[] = {{heard, 1, kSharing, 0, 0},
                                    {random_(), 1, kOther, 0, 0},
                                    {random_(), 1, kSharing + 1, 0, 0},
                                    {random_(), 1, LINIMO_MAX_SERVICES, 0, 0},
                                    {random_(), LINIMO_MAX_BACKEND_IDS, kSharing, 0, 0}};
  sharing_.hear(words, *live_, 100'000);
  EXPECT_EQ(sharing_.told()->entries(), 1U);
  EXPECT_EQ(linimo_flow_backend(told(heard, 100)), 1U);
}

// A datagram's fragments are sent where its first one went, but never to a node, which would send them back.
TEST_F(FlowSharingTest, HearsOfDatagramsToBackends) {
  const uint64_t heard = random_(), to_node = random_(), to_nobody = random_(), unsound = random_(),
                 of_no_id = random_();
  const linimo_flow_word words[] = {{heard, 2, kOther, 0, 1},
                                    {to_node, 9, kOther, 0, 1},
                                    {to_nobody, 7, kOther, 0, 1},
                                    {unsound, 2, LINIMO_MAX_SERVICES + 7, 0, 1},
                                    {of_no_id, LINIMO_MAX_BACKEND_IDS, kOther, 0, 1}};
  sharing_.hear(words, *live_, 100'000);
  EXPECT_EQ(sharing_.datagrams()->find(heard, 100'000), (FragmentMemory::Choice{2, kOther}));
  for (const uint64_t datagram : {to_node, to_nobody, unsound, of_no_id})
    EXPECT_EQ(sharing_.datagrams()->find(datagram, 100'000), std::nullopt);
  EXPECT_EQ(sharing_.told()->entries(), 0U);
}

// As a packet of such a flow would: the slot stays unsettled for as long as flows deviate.
TEST_F(FlowSharingTest, AFlowThatDeviatesElsewhereKeepsItsSlotUnsettled) {
  const ServiceView& service = *live_->service_of_id(kSharing);
  const uint64_t hash = flow(false);
  const uint32_t slot = slot_of(hash, service.table_size);
  const uint32_t current = service.targets[service.slots[slot]].backend_id;
  const uint32_t window_s = service.tracking_key.idle_timeout_s;
  const uint32_t other = current == 2 ? 3 : 2;
  const linimo_flow_word stays{hash, current, kSharing, 0, 0}, deviates{hash, other, kSharing, 0, 0};
  const linimo_flow_word settled{flow(true), other, kSharing, 0, 0};
  const linimo_flow_word ended{hash, other, kSharing, 1, 0};
  sharing_.hear({&deviates, 1}, *live_, window_s * 1000);
  sharing_.hear({&stays, 1}, *live_, window_s * 1500);
  sharing_.hear({&settled, 1}, *live_, window_s * 1500);
  sharing_.hear({&ended, 1}, *live_, window_s * 1500);
  live_->settle_slots(window_s + 1);
  EXPECT_FALSE(service.is_settled(slot));
  live_->settle_slots(2 * window_s + 1);
  EXPECT_TRUE(service.is_settled(slot));
}

TEST_F(FlowSharingTest, ForgetsWhatNobodyHasRepeated) {
  const linimo_flow_word word{random_(), 1, kSharing, 0, 0};
  sharing_.hear({&word, 1}, *live_, 100'000);
  const uint32_t life_s = linimo_told_for(live_->service_of_id(kSharing)->tracking_key.idle_timeout_s);
  for (uint32_t second = 1; second <= 60; ++second) sharing_.sweep(*live_, 100 + second);
  EXPECT_EQ(sharing_.told()->entries(), 1U);
  for (uint32_t second = 1; second <= 60; ++second) sharing_.sweep(*live_, 100 + life_s + second);
  EXPECT_EQ(sharing_.told()->entries(), 0U) << "once round in a minute";
}

}  // namespace
}  // namespace linimo
