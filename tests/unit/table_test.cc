// The Maglev table: even, exact to weights, undisturbed by what does not concern a slot, and the same
// everywhere.

#include "maglev/table.h"

#include <algorithm>
#include <numeric>
#include <random>

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "maglev/hash.h"
#include "maglev/table_search.h"

namespace linimo {
namespace {

std::vector<TableMember> members(uint32_t count, uint32_t seed = 0) {
  std::vector<TableMember> result;
  for (uint32_t i = 0; i < count; ++i)
    result.push_back({Address::v4(htonl(0x0a000001 + seed * 4096 + i)), 1});
  return result;
}

std::vector<uint32_t> shares(std::span<const linimo_slot> slots, size_t count) {
  std::vector<uint32_t> result(count);
  for (const linimo_slot slot : slots) ++result.at(slot);
  return result;
}

/// The rule as the paper has it, with weights, and nothing else: each in its turn takes the first slot of its
/// permutation that is free.
std::vector<linimo_slot> by_the_book(std::span<const TableMember> members, uint32_t table_size) {
  struct Turn {
    uint64_t next, skip, claimed = 0;
  };
  std::vector<Turn> turns;
  uint64_t heaviest = 0;
  for (const TableMember& member : members) {
    const auto hash = XXH3_128bits_withSeed(member.address.bytes.data(), 16, 0x4c696e696d6f0001);
    turns.push_back({hash.low64 % table_size, hash.high64 % (table_size - 1) + 1});
    heaviest = std::max<uint64_t>(heaviest, member.weight);
  }
  std::vector<linimo_slot> slots(table_size, LINIMO_NO_BACKEND);
  for (uint32_t filled = 0;;) {
    for (size_t i = 0; i < members.size(); ++i) {
      Turn& turn = turns[i];
      turn.claimed += members[i].weight;
      if (turn.claimed < heaviest) continue;
      turn.claimed -= heaviest;
      while (slots[turn.next] != LINIMO_NO_BACKEND) turn.next = (turn.next + turn.skip) % table_size;
      slots[turn.next] = static_cast<linimo_slot>(i);
      if (++filled == table_size) return slots;
    }
  }
}

/// The part of the slots of those that stay which changes hands when one of `before` goes.
double disruption(const std::vector<TableMember>& before, size_t gone, uint32_t table_size) {
  std::vector<TableMember> after = before;
  after.erase(after.begin() + static_cast<ptrdiff_t>(gone));
  const auto old_slots = populate(before, table_size);
  const auto new_slots = populate(after, table_size);
  uint32_t kept = 0;
  uint32_t moved = 0;
  for (uint32_t slot = 0; slot < table_size; ++slot) {
    if (old_slots[slot] == gone) continue;
    ++kept;
    moved += before[old_slots[slot]] != after[new_slots[slot]];
  }
  return double(moved) / kept;
}

// The most loaded of 1000 equal backends has at most 1.02 times the average share.
TEST(Table, IsEven) {
  const auto slots = populate(members(1000), 65537);
  const auto load = shares(slots, 1000);
  EXPECT_LE(*std::max_element(load.begin(), load.end()) / (65537.0 / 1000), 1.02);
}

// Each backend's share is within 2 % of its weight, or one slot if that is larger.
TEST(Table, SharesFollowWeights) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    auto backends = members(200, seed);
    for (auto& backend : backends) backend.weight = std::uniform_int_distribution<uint32_t>(1, 1000)(random);
    const double total =
        std::accumulate(backends.begin(), backends.end(), 0.0,
                        [](double sum, const TableMember& member) { return sum + member.weight; });
    const auto load = shares(populate(backends, 65537), backends.size());
    for (size_t i = 0; i < backends.size(); ++i) {
      const double due = 65537 * backends[i].weight / total;
      EXPECT_NEAR(load[i], due, std::max(1.0, 0.02 * due))
          << "seed " << seed << " weight " << backends[i].weight;
    }
  }
}

// Removing one of 100 moves at most 0.7 % of the survivors' slots, 0.6 % in the mean over seeds.
TEST(Table, RemovalDisturbsFew) {
  double sum = 0;
  constexpr uint32_t kSeeds = 30;
  for (uint32_t seed = 0; seed < kSeeds; ++seed) {
    const double moved = disruption(members(100, seed), seed * 3 % 100, 65537);
    EXPECT_LE(moved, 0.007) << "seed " << seed;
    sum += moved;
  }
  EXPECT_LE(sum / kSeeds, 0.006);
}

// A backend of weight 0 has no slot, and the others' slots are as if it were not there.
TEST(Table, WeightZeroIsAbsence) {
  auto backends = members(10);
  backends[3].weight = 0;
  const auto slots = populate(backends, 65537);
  auto without = backends;
  without.erase(without.begin() + 3);
  const auto expected = populate(without, 65537);
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    ASSERT_EQ(backends[slots[slot]], without[expected[slot]]) << slot;
  }
  EXPECT_EQ(table_digest(backends, expected), table_digest(without, expected));
}

// The table is the same on every machine: these values were taken once and may never change, for a fleet
// holds nodes of different versions.
TEST(Table, IsTheSameEverywhere) {
  std::vector<TableMember> backends = {{*Address::parse("10.0.1.1"), 100},
                                       {*Address::parse("10.0.1.2"), 50},
                                       {*Address::parse("2001:db8:1::3"), 25}};
  std::sort(backends.begin(), backends.end());
  const auto slots = populate(backends, 65537);
  EXPECT_EQ(table_digest(backends, slots), 2215328088976961270U);
}

// Whatever makes it fast changes no slot: small and large tables, few and many members, equal and weighted,
// with and without vector instructions.
TEST(Table, IsFilledByTheBook) {
  std::mt19937 random(1);
  for (const uint32_t size : {2U, 3U, 5U, 7U, 31U, 251U, 1021U, 8191U, 65537U, 655373U}) {
    for (const uint32_t count : {1U, 2U, 3U, 10U, 100U, 1000U}) {
      if (size > 65537 && count < 1000) continue;
      for (const bool weighted : {false, true}) {
        auto backends = members(count, size + weighted);
        for (auto& backend : backends)
          backend.weight = weighted ? std::uniform_int_distribution<uint32_t>(0, 1000)(random) : 7;
        backends[0].weight = 1000;
        const auto expected = by_the_book(backends, size);
        ASSERT_TRUE(populate(backends, size) == expected) << size << " slots, " << count << " members";
        ASSERT_TRUE(populate(backends, size, portable_table_search()) == expected)
            << size << " slots, " << count << " members, without vector instructions";
      }
    }
  }
}

TEST(Table, WithoutMembersHasNoBackend) {
  const auto slots = populate({}, 251);
  EXPECT_EQ(std::count(slots.begin(), slots.end(), LINIMO_NO_BACKEND), 251);
}

// Every size that the configuration admits works, down to one slot for each of two backends.
TEST(Table, SmallestSizes) {
  for (const uint32_t size : {2U, 3U, 5U, 7U}) {
    const auto load = shares(populate(members(2), size), 2);
    EXPECT_EQ(load[0] + load[1], size);
    EXPECT_LE(std::max(load[0], load[1]) - std::min(load[0], load[1]), 1U);
  }
}

// More backends than slots: as many as there are slots get one.
TEST(Table, MoreBackendsThanSlots) {
  const auto load = shares(populate(members(20), 7), 20);
  EXPECT_EQ(std::count(load.begin(), load.end(), 1U), 7);
}

TEST(Table, Primes) {
  for (const uint32_t prime : {2U, 3U, 251U, 65537U, 655373U, 16777259U})
    EXPECT_TRUE(is_prime(prime)) << prime;
  for (const uint32_t other : {0U, 1U, 4U, 65536U, 65535U, 4294967295U})
    EXPECT_FALSE(is_prime(other)) << other;
}

}  // namespace
}  // namespace linimo
