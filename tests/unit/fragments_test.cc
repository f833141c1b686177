// What is remembered of a datagram's first fragment, the fragments that wait for it, and those that tunnel
// packets leave in.

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "dataplane/flow/fragment_memory.h"
#include "dataplane/flow/held_fragments.h"
#include "dataplane/packet/headers.h"
#include "dataplane/packet/outer_fragments.h"

namespace linimo {
namespace {

constexpr uint64_t kNow_ms = 1'000'000;
constexpr uint64_t kDatagram = 0x123456789abcdef0;
constexpr uint64_t kUnit_ms = 68;  // of the stamp, rounded up: by so much an entry may live longer
constexpr FragmentMemory::Choice kChoice{LINIMO_MAX_BACKEND_IDS - 1, LINIMO_MAX_SERVICES - 1};

TEST(FragmentMemory, RemembersForTwoSeconds) {
  FragmentMemory memory;
  EXPECT_EQ(memory.find(kDatagram, kNow_ms), std::nullopt);
  memory.remember(kDatagram, kChoice, kNow_ms);
  EXPECT_EQ(memory.find(kDatagram, kNow_ms), kChoice);
  EXPECT_EQ(memory.find(kDatagram, kNow_ms + 1999), kChoice);
  EXPECT_EQ(memory.find(kDatagram, kNow_ms + 2000 + 2 * kUnit_ms), std::nullopt);
  EXPECT_EQ(memory.find(kDatagram, kNow_ms - 900), kChoice) << "another worker's clock is a little behind";
  EXPECT_EQ(memory.find(kDatagram ^ uint64_t{1} << 63, kNow_ms), std::nullopt);
}

TEST(FragmentMemory, AnIdentificationUsedAgainMeansTheNewDatagram) {
  FragmentMemory memory;
  memory.remember(kDatagram, kChoice, kNow_ms);
  memory.remember(kDatagram, {3, 4}, kNow_ms + 1000);
  EXPECT_EQ(memory.find(kDatagram, kNow_ms + 1000), (FragmentMemory::Choice{3, 4}));
  EXPECT_EQ(memory.find(kDatagram, kNow_ms + 2999), (FragmentMemory::Choice{3, 4}));
}

TEST(FragmentMemory, AFullBucketLosesItsOldest) {
  FragmentMemory memory;
  const auto datagram = [](uint64_t i) { return kDatagram ^ i << 36; };
  for (uint64_t i = 0; i < 9; ++i) memory.remember(datagram(i), kChoice, kNow_ms + i * kUnit_ms);
  EXPECT_EQ(memory.find(datagram(0), kNow_ms + 9 * kUnit_ms), std::nullopt);
  for (uint64_t i = 1; i < 9; ++i) EXPECT_EQ(memory.find(datagram(i), kNow_ms + 9 * kUnit_ms), kChoice) << i;
}

// Nobody clears what is over, so the stamp must be long in coming round: in minutes.
TEST(FragmentMemory, WhatIsOverStaysOverForMinutes) {
  FragmentMemory memory;
  memory.remember(kDatagram, kChoice, kNow_ms);
  for (uint64_t s = 3; s < uint64_t{8} * 60; ++s)
    EXPECT_EQ(memory.find(kDatagram, kNow_ms + s * 1000), std::nullopt) << s;
}

struct Told {
  uint64_t datagram;
  void* fragment;
  bool overdue;
  bool operator==(const Told&) const = default;
};

TEST(HeldFragments, AreOfferedInOrderUntilTheyLeave) {
  HeldFragments held;
  int fragments[3];
  EXPECT_TRUE(held.hold(1, &fragments[0], kNow_ms));
  EXPECT_TRUE(held.hold(2, &fragments[1], kNow_ms + 1));
  EXPECT_TRUE(held.hold(1, &fragments[2], kNow_ms + 1));
  std::vector<Told> told;
  held.release(kNow_ms + 1999, [&](uint64_t datagram, void* fragment, bool overdue) {
    told.push_back({datagram, fragment, overdue});
    return datagram == 2;
  });
  EXPECT_EQ(told, (std::vector<Told>{
                      {1, &fragments[0], false}, {2, &fragments[1], false}, {1, &fragments[2], false}}));
  EXPECT_EQ(held.count(), 2U);
  told.clear();
  held.release(kNow_ms + 2000, [&](uint64_t datagram, void* fragment, bool overdue) {
    told.push_back({datagram, fragment, overdue});
    return overdue;
  });
  EXPECT_EQ(told, (std::vector<Told>{{1, &fragments[0], true}, {1, &fragments[2], false}}));
  EXPECT_EQ(held.count(), 1U);
}

TEST(HeldFragments, OneDatagramMayTakeAPartAndAllTogetherNoMoreThanThereIs) {
  HeldFragments held;
  int fragment;
  for (uint32_t i = 0; i < HeldFragments::kOfOneDatagram; ++i) EXPECT_TRUE(held.hold(7, &fragment, kNow_ms));
  EXPECT_FALSE(held.hold(7, &fragment, kNow_ms));
  while (held.count() < HeldFragments::kCapacity)
    EXPECT_TRUE(held.hold(100 + held.count(), &fragment, kNow_ms));
  EXPECT_FALSE(held.hold(8, &fragment, kNow_ms));
  held.release(kNow_ms, [](uint64_t datagram, void*, bool) { return datagram == 7; });
  EXPECT_EQ(held.count(), HeldFragments::kCapacity - HeldFragments::kOfOneDatagram);
  EXPECT_TRUE(held.hold(8, &fragment, kNow_ms));
}

/// `payload` bytes behind an IP header that says only which IP it is.
std::vector<uint8_t> outer_packet(bool v6, size_t payload) {
  std::vector<uint8_t> bytes((v6 ? sizeof(packet::Ipv6) : sizeof(packet::Ipv4)) + payload);
  bytes[0] = v6 ? 0x60 : 0x45;
  for (size_t i = 0; i < payload; ++i) bytes[bytes.size() - payload + i] = static_cast<uint8_t>(i * 7);
  return bytes;
}

TEST(OuterFragments, FitTheWayAndHoldTheWholeInOrder) {
  for (const bool v6 : {false, true}) {
    const uint32_t header = v6 ? sizeof(packet::Ipv6) + sizeof(packet::Ipv6Fragment) : sizeof(packet::Ipv4);
    for (const uint32_t mtu : {header + 8, header + 15, header + 16, 576U, 1280U}) {
      const size_t payload = mtu < 100 ? 100 : 3001;
      const auto outer = outer_packet(v6, payload);
      const packet::OuterFragments fragments(outer.data(), static_cast<uint32_t>(outer.size()), mtu, 7);
      ASSERT_GT(fragments.count(), 1U) << mtu;
      std::vector<uint8_t> carried;
      for (uint32_t i = 0; i < fragments.count(); ++i) {
        EXPECT_LE(fragments.length(i), mtu);
        std::vector<uint8_t> written(fragments.length(i));
        fragments.write(i, written.data());
        carried.insert(carried.end(), written.begin() + header, written.end());
        const bool last = i + 1 == fragments.count();
        EXPECT_TRUE(last || carried.size() % 8 == 0) << carried.size();
      }
      EXPECT_TRUE(std::equal(carried.begin(), carried.end(), outer.end() - static_cast<ptrdiff_t>(payload),
                             outer.end()))
          << mtu;
    }
  }
}

TEST(OuterFragments, AreNoneWhereTheWayIsTooNarrow) {
  const auto count = [](bool v6, size_t payload, uint32_t mtu) {
    const auto outer = outer_packet(v6, payload);
    return packet::OuterFragments(outer.data(), static_cast<uint32_t>(outer.size()), mtu, 7).count();
  };
  EXPECT_EQ(count(false, 100, 27), 0U) << "of not even eight bytes each";
  EXPECT_EQ(count(true, 100, 55), 0U);
  EXPECT_EQ(count(true, 100, 0), 0U);
  constexpr size_t kMost = packet::OuterFragments::kMost;
  EXPECT_EQ(count(false, kMost * 8, 28), kMost);
  EXPECT_EQ(count(false, kMost * 8 + 1, 28), 0U) << "of more than are sent";
}

}  // namespace
}  // namespace linimo
