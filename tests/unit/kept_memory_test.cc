// Where connection tables outlive the process when no hugetlbfs can hold them: in a file on a tmpfs, which
// has all of its pages at once or is not made, and which is of use for the same process started anew alone.

#include "dataplane/dpdk/kept_memory.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/temporary_folder.h"

namespace linimo::dpdk {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr KeptFlows::Shape kShape{.owner = 0, .boot = {}, .workers = 2, .flows = 4096, .spread = 9};

KeptFlows::Shape with_flows(uint64_t flows) {
  KeptFlows::Shape made = kShape;
  made.flows = flows;
  return made;
}

class KeptMemoryTest : public testing::Test {
 protected:
  /// Without a hugetlbfs, in a mount namespace that ends with this program.
  void SetUp() override {
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "needs root, to mount file systems";
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    for (const KeptPlace& place : kept_places(run()).usable) {
      if (!place.hugepages) continue;
      ASSERT_EQ(umount2(place.file.parent_path().parent_path().c_str(), MNT_DETACH), 0);
    }
  }
  void TearDown() override { umount2(folder_.path().c_str(), MNT_DETACH); }

  void mount_tmpfs(const char* options) const {
    ASSERT_EQ(mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, options), 0) << std::strerror(errno);
  }
  std::filesystem::path run() const { return folder_.path() / "run"; }
  std::filesystem::path file() const { return run() / "kept/tables"; }
  static std::string why_none(const tl::expected<KeptMemory, std::string>& kept) {
    return kept ? "(there is some)" : kept.error();
  }
  uint64_t free_bytes() const { return std::filesystem::space(folder_.path()).available; }

  const TemporaryFolder folder_;
};

/// What one process leaves, in a byte of the second worker's fragments: the very end of what is in use.
std::byte& last_byte(const KeptMemory& memory) {
  return memory.flows().fragments(kShape.workers - 1).back();
}

TEST_F(KeptMemoryTest, OutlivesItsProcess) {
  mount_tmpfs("size=64m,mode=0755");
  const pid_t child = fork();
  if (child == 0) {
    const auto kept = KeptMemory::open(run(), kShape);
    if (!kept) _exit(1);
    last_byte(*kept) = std::byte{77};
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto next = KeptMemory::open(run(), kShape);
  ASSERT_TRUE(next) << next.error();
  EXPECT_EQ(next->file(), file());
  EXPECT_THAT(next->why_small_pages(), HasSubstr("no hugetlbfs is mounted"));
  EXPECT_THAT(next->why_empty(), IsEmpty());
  EXPECT_EQ(last_byte(*next), std::byte{77});
  EXPECT_TRUE(next->is_in_place());
}

// Another shape's are replaced by empty ones, which is said; so is what was cut short or is no such file.
TEST_F(KeptMemoryTest, BeginsEmptyAndSaysWhy) {
  mount_tmpfs("size=64m,mode=0755");
  const auto after = [&](const KeptFlows::Shape& shape) {
    const auto kept = KeptMemory::open(run(), shape);
    if (!kept) return kept.error();
    EXPECT_EQ(last_byte(*kept), std::byte{});
    last_byte(*kept) = std::byte{77};
    return kept->why_empty();
  };
  EXPECT_THAT(after(kShape), IsEmpty());
  EXPECT_THAT(after(with_flows(8192)), HasSubstr("4096 flows each"));
  EXPECT_THAT(after(kShape), HasSubstr("8192 flows each"));
  ASSERT_EQ(truncate(file().c_str(), 8192), 0);
  EXPECT_THAT(after(kShape), HasSubstr("not theirs"));
  ASSERT_EQ(truncate(file().c_str(), 100), 0);
  EXPECT_THAT(after(kShape), HasSubstr("cut short"));
  ASSERT_EQ(truncate(file().c_str(), 0), 0);
  EXPECT_THAT(after(kShape), IsEmpty());
  std::ofstream(file(), std::ios::trunc) << std::string(100'000, 'x');
  EXPECT_THAT(after(kShape), HasSubstr("not theirs"));
  std::filesystem::remove(file());
  std::filesystem::create_symlink("/etc/passwd", file());
  EXPECT_THAT(after(kShape), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(file())));
  // Of however many bytes it says it is, no more are taken than are of use.
  ASSERT_EQ(truncate(file().c_str(), int64_t{1} << 40), 0);
  const auto huge = KeptMemory::open(run(), kShape);
  ASSERT_TRUE(huge) << huge.error();
  EXPECT_THAT(huge->why_empty(), IsEmpty());
  EXPECT_EQ(last_byte(*huge), std::byte{77});
}

// Each page is there from the start: a tmpfs that is filled up later takes none away (that would be SIGBUS).
TEST_F(KeptMemoryTest, HasAllOfItsPagesAtOnce) {
  mount_tmpfs("size=64m,mode=0755");
  const auto kept = KeptMemory::open(run(), kShape);
  ASSERT_TRUE(kept) << kept.error();
  std::ofstream(folder_.path() / "filler") << std::string(free_bytes(), 'x');
  ASSERT_EQ(free_bytes(), 0U);
  for (uint32_t worker = 0; worker < kShape.workers; ++worker) {
    std::ranges::fill(kept->flows().table(worker), std::byte{1});
    std::ranges::fill(kept->flows().fragments(worker), std::byte{2});
  }
}

// Other programs need a tmpfs, too: what would take most of it is refused, and leaves nothing there.
TEST_F(KeptMemoryTest, TakesNoMoreThanHalfOfWhatIsFree) {
  mount_tmpfs("size=16m,mode=0755");
  ASSERT_GT(KeptFlows::bytes_for(with_flows(400'000)), uint64_t{8} << 20);
  const auto none = KeptMemory::open(run(), with_flows(400'000));
  EXPECT_THAT(why_none(none), AllOf(HasSubstr("no hugetlbfs is mounted"), HasSubstr(file().string()),
                                    HasSubstr("more than half of what is free there, 16 MiB")));
  EXPECT_FALSE(std::filesystem::exists(file()));
  EXPECT_TRUE(KeptMemory::open(run(), kShape)) << "what fits is kept";
}

TEST_F(KeptMemoryTest, FullTmpfs) {
  mount_tmpfs("size=16m,mode=0755");
  std::ofstream(folder_.path() / "filler") << std::string(free_bytes(), 'x');
  EXPECT_THAT(why_none(KeptMemory::open(run(), kShape)), HasSubstr("free there, 0 MiB"));
  std::filesystem::remove(folder_.path() / "filler");
  // The same where the limit is not of bytes: on the names that it may hold.
  umount2(folder_.path().c_str(), MNT_DETACH);
  mount_tmpfs("size=64m,nr_inodes=3,mode=0755");
  EXPECT_THAT(why_none(KeptMemory::open(run(), kShape)), HasSubstr("No space left"));
  EXPECT_FALSE(std::filesystem::exists(file()));
}

// A disk's file would be written back all the time, and outlive a reboot.
TEST_F(KeptMemoryTest, NotOnADisk) {
  const TemporaryFolder elsewhere;
  const auto places = kept_places(elsewhere.path());
  if (!places.usable.empty()) GTEST_SKIP() << elsewhere.path() << " is on a tmpfs";
  EXPECT_EQ(why_none(KeptMemory::open(elsewhere.path(), kShape)),
            "no hugetlbfs is mounted (`mount -t hugetlbfs nodev /dev/hugepages`); " +
                elsewhere.path().string() + " is not on a tmpfs");
}

TEST_F(KeptMemoryTest, FolderThatOthersMayWriteTo) {
  mount_tmpfs("size=64m,mode=0755");
  std::filesystem::create_directories(run() / "kept");
  chmod((run() / "kept").c_str(), 0777);
  EXPECT_THAT(why_none(KeptMemory::open(run(), kShape)), HasSubstr("may be written to by others"));
}

TEST_F(KeptMemoryTest, OneProcessAtATime) {
  mount_tmpfs("size=64m,mode=0755");
  auto kept = KeptMemory::open(run(), kShape);
  ASSERT_TRUE(kept) << kept.error();
  EXPECT_THAT(why_none(KeptMemory::open(run(), kShape)), HasSubstr("in use by another process"));
  std::filesystem::remove(file());
  EXPECT_FALSE(kept->is_in_place());
}

TEST_F(KeptMemoryTest, IsForgotten) {
  mount_tmpfs("size=64m,mode=0755");
  EXPECT_FALSE(forget_kept_memory(run()));
  const uint64_t before = free_bytes();
  ASSERT_TRUE(KeptMemory::open(run(), kShape));
  EXPECT_LT(free_bytes(), before);
  EXPECT_TRUE(forget_kept_memory(run()));
  EXPECT_FALSE(std::filesystem::exists(run() / "kept"));
  EXPECT_GE(free_bytes() + 8192, before) << "but for the folder";
}

}  // namespace
}  // namespace linimo::dpdk
