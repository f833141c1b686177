// Files that outlive a process: whole or not there, never by way of what another user has put there; and a
// folder that others could write to is not used.

#include "maglev/state_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "controlplane/log.h"
#include "controlplane/state_folder.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

std::string text_of(const std::filesystem::path& file) {
  const auto text = read_state_file(file, 1 << 20);
  return text && *text ? **text : text ? "(none)" : text.error();
}

TEST(StateFile, ReplacesTheWhole) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "drains.json";
  EXPECT_EQ(text_of(file), "(none)");
  for (const std::string_view text : {"first", "", "another, longer one"}) {
    ASSERT_TRUE(write_state_file(file, text, Outlives::kPowerCut));
    EXPECT_EQ(text_of(file), text);
  }
  struct stat status {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_FALSE(read_state_file(file, 3)) << "larger than anybody expects";
  EXPECT_FALSE(read_state_file(folder.path(), 1 << 20)) << "a folder";
}

TEST(StateFile, IsOpenedWithWhatItHas) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "lock";
  ASSERT_TRUE(open_own_file(file)) << "made if there is none";
  struct stat status {};
  ASSERT_EQ(stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_TRUE(write_state_file(file, "who", Outlives::kProcess));
  ASSERT_TRUE(open_own_file(file));
  EXPECT_EQ(text_of(file), "who");
  EXPECT_FALSE(open_own_file(folder.path() / "none" / "lock"));
}

// Files of sysfs say that they have a page, and end before.
TEST(StateFile, ThatEndsBeforeItsSizeIsRefused) {
  const std::filesystem::path file = "/sys/kernel/uevent_seqnum";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "needs " << file;
  EXPECT_EQ(text_of(file), file.string() + " became shorter while it was read");
}

TEST(StateFile, FollowsNoLink) {
  const TemporaryFolder folder;
  const auto victim = folder.write("victim", "precious");
  const auto file = folder.path() / "file";
  std::filesystem::create_symlink(victim, file);
  EXPECT_NE(text_of(file).find("symbolic link"), std::string::npos) << text_of(file);
  EXPECT_FALSE(open_own_file(file));
  std::filesystem::create_symlink(victim, folder.path() / "file.next");
  ASSERT_TRUE(write_state_file(file, "new", Outlives::kProcess)) << "the links are replaced";
  EXPECT_EQ(text_of(file), "new");
  EXPECT_EQ(text_of(victim), "precious");
}

/// What is half written is said to have failed, leaves nothing behind and what was there alone; and what an
/// earlier process left half written takes no room.
TEST(StateFile, SurvivesAFullDisk) {
  if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "needs root, to mount a small file system";
  const TemporaryFolder folder;
  ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k"), 0);
  const auto file = folder.path() / "snapshot";
  ASSERT_TRUE(write_state_file(file, "old", Outlives::kPowerCut));
  const std::string large(100'000, 'x');
  const auto failed = write_state_file(file, large, Outlives::kPowerCut);
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().find(file.string() + ": No space left"), std::string::npos) << failed.error();
  EXPECT_EQ(text_of(file), "old");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "snapshot.next"));

  folder.write("snapshot.next", std::string(50'000, 'y'));
  const std::string fits(40'000, 'z');
  EXPECT_TRUE(write_state_file(file, fits, Outlives::kPowerCut));
  EXPECT_EQ(text_of(file), fits);
  umount2(folder.path().c_str(), MNT_DETACH);
}

TEST(StateFile, IsRemovedOrSaysWhyNot) {
  const TemporaryFolder folder;
  const auto file = folder.write("file", "content");
  EXPECT_TRUE(remove_state_file(file));
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_TRUE(remove_state_file(file)) << "there is none any more";
  const auto refused = remove_state_file(folder.path());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().find(folder.path().string()), std::string::npos);
}

TEST(OwnFolder, IsNobodyElses) {
  const TemporaryFolder folder;
  const auto own = folder.path() / "a" / "b";
  ASSERT_TRUE(make_own_folder(own));
  struct stat status {};
  ASSERT_EQ(stat(own.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0750u);
  EXPECT_TRUE(make_own_folder(own)) << "again";

  for (const mode_t mode : {0770u, 0757u, 01777u}) {
    chmod(own.c_str(), mode);
    const auto made = make_own_folder(own);
    ASSERT_FALSE(made) << mode;
    EXPECT_NE(made.error().find("chmod 0750"), std::string::npos) << made.error();
  }
  chmod(own.c_str(), 0755);
  EXPECT_TRUE(make_own_folder(own));

  std::filesystem::create_directory_symlink(own, folder.path() / "link");
  const auto linked = make_own_folder(folder.path() / "link");
  ASSERT_FALSE(linked);
  EXPECT_NE(linked.error().find("symbolic link"), std::string::npos) << linked.error();
  const auto file = folder.write("file", "");
  EXPECT_FALSE(make_own_folder(file));
  const auto below = make_own_folder(file / "a" / "b");
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error(), (file / "a").string() + ": Not a directory");
  const auto long_name = folder.path() / std::string(300, 'n');
  const auto too_long = make_own_folder(long_name);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error(), long_name.string() + ": File name too long");

  const mode_t mask = umask(0077);  // as systemd's units have it
  const auto open = folder.path() / "open";
  EXPECT_TRUE(make_own_folder(open, 0755));
  umask(mask);
  ASSERT_EQ(stat(open.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0755u) << "others reach a socket there";
  chmod(open.c_str(), 0750);
  EXPECT_TRUE(make_own_folder(open, 0755));
  ASSERT_EQ(stat(open.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0750u) << "whoever shuts it off wishes so";

  if (geteuid() != 0) return;
  ASSERT_EQ(chown(own.c_str(), 1000, 0), 0);
  const auto others = make_own_folder(own);
  ASSERT_FALSE(others);
  EXPECT_NE(others.error().find("belongs to user 1000"), std::string::npos) << others.error();
}

/// Who was drained before there was such a folder still is.
TEST(StateFolder, TakesOverWhatTheRuntimeFolderHad) {
  set_log_level("error");
  const TemporaryFolder folder;
  NodeConfig node;
  node.runtime_dir = folder.path() / "run";
  node.state_dir = folder.path() / "state";
  ASSERT_TRUE(make_own_folder(node.runtime_dir));
  ASSERT_TRUE(write_state_file(drains_file(node.runtime_dir), "who", Outlives::kProcess));
  ASSERT_TRUE(write_state_file(node_drained_file(node.runtime_dir), "", Outlives::kProcess));
  ASSERT_TRUE(open_state_folder(node));
  EXPECT_EQ(text_of(drains_file(node.state_dir)), "who");
  EXPECT_EQ(text_of(node_drained_file(node.state_dir)), "");
  EXPECT_EQ(text_of(drains_file(node.runtime_dir)), "(none)");

  ASSERT_TRUE(write_state_file(drains_file(node.runtime_dir), "older", Outlives::kProcess));
  ASSERT_TRUE(open_state_folder(node));
  EXPECT_EQ(text_of(drains_file(node.state_dir)), "who") << "what is there already is newer";

  node.state_dir = node.runtime_dir;
  ASSERT_TRUE(write_state_file(drains_file(node.runtime_dir), "here", Outlives::kProcess));
  ASSERT_TRUE(open_state_folder(node));
  EXPECT_EQ(text_of(drains_file(node.runtime_dir)), "here") << "one folder may serve for both";
}

TEST(StateFolder, IsBesideTheRuntimeFolder) {
  EXPECT_EQ(usual_state_dir("/run/linimo"), "/var/lib/linimo");
  EXPECT_EQ(usual_state_dir("/run/linimo/b"), "/var/lib/linimo/b");
  EXPECT_EQ(usual_state_dir("/run/x/../linimo-b"), "/var/lib/linimo-b");
  EXPECT_EQ(usual_state_dir("/srv/linimo"), "/srv/linimo");
  EXPECT_EQ(usual_state_dir("/run"), "/run");
  EXPECT_EQ(usual_state_dir("/running/linimo"), "/running/linimo");
  EXPECT_EQ(usual_state_dir("here"), "here");
}

}  // namespace
}  // namespace linimo
