// The memory in which snapshots travel: whatever was prepared, what is sent is what was meant, sealed, and
// memory of its own.

#include "controlplane/tables/snapshot_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "maglev/os/memfd.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

std::vector<std::byte> snapshot_of(const std::vector<uint32_t>& table_sizes, uint32_t backends,
                                   uint32_t weight) {
  SnapshotSpec spec;
  spec.encap_source4 = *Address::parse("10.0.0.11");
  for (const uint32_t size : table_sizes) {
    PoolSpec pool;
    pool.name = "pool";
    for (uint32_t b = 0; b < backends; ++b) {
      Address address = *Address::parse("10.0.1.0");
      address.bytes[15] = static_cast<uint8_t>(b);
      pool.backends.push_back({.address = address, .id = b, .weight = b == 0 ? weight : 1});
    }
    pool.table = make_pool_table(pool.backends, size);
    spec.pools.push_back(std::move(pool));
  }
  return build_snapshot(spec);
}

ino_t inode(const UniqueFd& fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd.get(), &status), 0);
  return status.st_ino;
}

TEST(SnapshotMemory, SendsWhatIsMeant) {
  const std::vector<std::vector<std::byte>> snapshots = {
      snapshot_of({251, 257}, 3, 1),  // from nothing
      snapshot_of({251, 257}, 3, 2),  // other tables
      snapshot_of({251, 257}, 3, 2),  // the same
      snapshot_of({257, 251}, 3, 2),  // the same size, all elsewhere
      snapshot_of({251, 257}, 5, 1),  // larger
      snapshot_of({251}, 5, 1),       // smaller
      snapshot_of({}, 0, 1)};         // no slots at all
  SnapshotMemory memory;
  std::vector<UniqueFd> sent;
  for (const auto& snapshot : snapshots) {
    auto fd = memory.sealed_with(snapshot);
    ASSERT_TRUE(fd) << fd.error();
    EXPECT_EQ(fcntl(fd->get(), F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL);
    for (const UniqueFd& earlier : sent) EXPECT_NE(inode(earlier), inode(*fd));
    sent.push_back(std::move(*fd));
    memory.prepare(snapshot);
  }
  for (size_t i = 0; i < sent.size(); ++i) {  // what was sent stays as it was
    EXPECT_EQ(copy_of_file(sent[i].get(), 1 << 20).value(), snapshots[i]) << i;
  }
}

// The second time there is no prepared memory: what was refused took it.
TEST(SnapshotMemory, NeedsNoPreparation) {
  const auto snapshot = snapshot_of({251, 257}, 3, 1);
  SnapshotMemory memory;
  memory.prepare(snapshot_of({251, 257}, 3, 2));
  for (int i = 0; i < 2; ++i) {
    const auto fd = memory.sealed_with(snapshot);
    ASSERT_TRUE(fd) << fd.error();
    EXPECT_EQ(copy_of_file(fd->get(), 1 << 20).value(), snapshot);
  }
}

// Tables are told apart by their checksums: one that is prepared already is not written again.
TEST(SnapshotMemory, WritesOnlyWhatDiffers) {
  const auto prepared = snapshot_of({251, 257}, 3, 1);
  auto marked = prepared;
  marked.back() ^= std::byte{1};
  SnapshotMemory memory;
  memory.prepare(prepared);
  EXPECT_EQ(copy_of_file(memory.sealed_with(marked)->get(), 1 << 20).value(), prepared);
}

}  // namespace
}  // namespace linimo
