// Copying one snapshot after the other into the same memory: what is there already is not written again, and
// yet what results is what copying to fresh memory would give, and nothing that was changed gets through.

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "maglev/hash.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

using testing::HasSubstr;

/// Pools of these sizes with that many backends each; `weight` of the first backend of the first pool, whose
/// table it changes.
std::vector<std::byte> snapshot_of(const std::vector<uint32_t>& table_sizes, uint32_t backends = 3,
                                   uint32_t weight = 1) {
  SnapshotSpec spec;
  spec.encap_source4 = *Address::parse("10.0.0.11");
  uint32_t id = 0;
  for (const uint32_t size : table_sizes) {
    PoolSpec pool;
    pool.name = "pool" + std::to_string(spec.pools.size());
    for (uint32_t b = 0; b < backends; ++b, ++id) {
      Address address = *Address::parse("10.0.1.0");
      address.bytes[15] = static_cast<uint8_t>(id);
      pool.backends.push_back({.address = address, .id = id, .weight = id == 0 ? weight : 1});
    }
    pool.table = make_pool_table(pool.backends, size);
    spec.pools.push_back(std::move(pool));
  }
  return build_snapshot(spec);
}

linimo_header& header_in(std::vector<std::byte>& bytes) {
  return *reinterpret_cast<linimo_header*>(bytes.data());
}

std::span<linimo_pool> pools_in(std::vector<std::byte>& bytes) {
  const linimo_extent& pools = header_in(bytes).sections[LINIMO_SECTION_POOLS];
  return {reinterpret_cast<linimo_pool*>(bytes.data() + pools.offset), pools.count};
}

void put_checksum_right(std::vector<std::byte>& bytes) {
  linimo_header& header = header_in(bytes);
  header.checksum = 0;
  const uint64_t slots_at =
      header.sections[LINIMO_SECTION_SLOTS].offset;  // which may be what was tampered with
  header.checksum = XXH3_64bits(bytes.data(), std::min<uint64_t>(slots_at, bytes.size()));
}

/// Memory that snapshots are copied into one after the other.
class Memory {
 public:
  testing::AssertionResult takes(std::span<const std::byte> snapshot) {
    const auto view = SnapshotView::copy(snapshot, bytes_.data(), &held_);
    if (!view) return testing::AssertionFailure() << view.error();
    if (!std::ranges::equal(view->bytes(), snapshot)) return testing::AssertionFailure() << "differs";
    const auto checked = SnapshotView::validate(view->bytes());
    return checked ? testing::AssertionSuccess() : testing::AssertionFailure() << checked.error();
  }
  std::string refusal_of(std::span<const std::byte> snapshot) {
    const auto view = SnapshotView::copy(snapshot, bytes_.data(), &held_);
    return view ? "" : view.error();
  }
  std::byte& operator[](size_t at) { return bytes_[at]; }

 private:
  alignas(64) std::array<std::byte, 16384> bytes_{};
  HeldTables held_;
};

TEST(SnapshotCopy, WritesOnlyWhatDiffers) {
  auto first = snapshot_of({251, 257}, 3, 1);
  auto second = snapshot_of({251, 257}, 3, 2);
  const size_t slots = header_in(first).sections[LINIMO_SECTION_SLOTS].offset;
  const size_t last = first.size() - 1;  // of the second table, which is the same in both
  Memory memory;
  ASSERT_TRUE(memory.takes(first));
  const auto mark = [&](size_t at) { memory[at] ^= std::byte{0x80}; };  // as nobody else may
  mark(slots);
  mark(last);
  ASSERT_FALSE(memory.takes(second));
  EXPECT_EQ(memory[slots], second[slots]) << "another table: written";
  EXPECT_NE(memory[last], second[last]) << "the same table: not written";
}

TEST(SnapshotCopy, RefusesAnyChangedByteOfATableThatIsThere) {
  const auto good = snapshot_of({251, 257});
  Memory memory;
  for (size_t at = 0; at < good.size(); ++at) {
    ASSERT_TRUE(memory.takes(good)) << at;
    auto bad = good;
    bad[at] ^= std::byte{1};
    ASSERT_THAT(memory.refusal_of(bad), testing::Not("")) << at;
  }
}

// The table is there and sound, but the pool that claims it has fewer backends than the one that had it.
TEST(SnapshotCopy, ChecksATableThatIsThereAgainstItsPool) {
  const auto good = snapshot_of({251, 257});
  auto bad = good;
  --pools_in(bad)[0].backend_count;
  --pools_in(bad)[1].backend_first;
  ++pools_in(bad)[1].backend_count;
  put_checksum_right(bad);
  Memory memory;
  ASSERT_TRUE(memory.takes(good));
  EXPECT_THAT(memory.refusal_of(bad), HasSubstr("slot of backend 2 among 2"));
  EXPECT_THAT(Memory().refusal_of(bad), HasSubstr("slot of backend 2 among 2")) << "as elsewhere";
}

// A refused snapshot may have written over anything: a longer head, tables of other sizes.
TEST(SnapshotCopy, ForgetsWhatARefusedSnapshotWroteOver) {
  const auto good = snapshot_of({251, 257, 263});
  for (auto bad : {snapshot_of({251, 257, 263}, 20), snapshot_of({509, 257}),
                   snapshot_of({101, 103, 107, 109}), snapshot_of({251, 509})}) {
    Memory memory;
    ASSERT_TRUE(memory.takes(good));
    for (const size_t at : {offsetof(linimo_header, checksum), bad.size() - 1}) {
      bad[at] ^= std::byte{1};
      ASSERT_THAT(memory.refusal_of(bad), HasSubstr("checksum"));
      bad[at] ^= std::byte{1};
      ASSERT_TRUE(memory.takes(good));
    }
  }
}

TEST(SnapshotCopy, TakesAnySequence) {
  const std::vector<std::vector<uint32_t>> layouts = {{251, 257, 263}, {263, 257, 251}, {251, 257},
                                                      {509, 263},      {263},           {251, 257, 263, 251}};
  std::mt19937 random(7);
  Memory memory;
  uint32_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    auto snapshot = snapshot_of(layouts[random() % layouts.size()], 2 + random() % 3, 1 + random() % 3);
    if (random() % 4 == 0) {
      snapshot[random() % snapshot.size()] ^= std::byte{4};
      if (random() % 2 == 0) put_checksum_right(snapshot);
      const bool sound = SnapshotView::validate(snapshot).has_value();
      refused += !sound;
      if (!sound) {
        ASSERT_THAT(memory.refusal_of(snapshot), testing::Not("")) << round;
        continue;
      }
    }
    ASSERT_TRUE(memory.takes(snapshot)) << round;
  }
  EXPECT_GT(refused, 300U);
}

}  // namespace
}  // namespace linimo
