// The flow hash is XXH3-64 as libxxhash has it: the engines, and nodes built by different compilers, must
// agree.

#include <random>

#include <gtest/gtest.h>
#include <xxhash.h>  // the library's own, not the inlined one of maglev/hash.h

uint64_t linimo_hash4(const void* key, uint64_t seed);
uint64_t linimo_hash6(const void* key, uint64_t seed);
uint32_t linimo_slot_of(uint64_t hash, uint32_t table_size);

TEST(FlowHash, EqualsTheLibrarys) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 10000; ++round) {
    uint64_t key[5];
    for (uint64_t& word : key) word = random();
    const uint64_t seed = random();
    EXPECT_EQ(linimo_hash4(key, seed), XXH3_64bits_withSeed(key, 16, seed));
    EXPECT_EQ(linimo_hash6(key, seed), XXH3_64bits_withSeed(key, 40, seed));
  }
}

// Every slot is in range, and all get their turn.
TEST(FlowHash, SlotsAreInRangeAndEven) {
  std::mt19937_64 random(8);
  constexpr uint32_t kSize = 251;
  constexpr uint32_t kDraws = 251 * 400;
  uint32_t load[kSize] = {};
  for (uint32_t i = 0; i < kDraws; ++i) {
    const uint32_t slot = linimo_slot_of(random(), kSize);
    ASSERT_LT(slot, kSize);
    ++load[slot];
  }
  for (const uint32_t count : load) EXPECT_NEAR(count, 400, 120);
  EXPECT_EQ(linimo_slot_of(~uint64_t{0}, kSize), kSize - 1);
}
