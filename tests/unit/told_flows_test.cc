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

}  // namespace
}  // namespace linimo
