// That a configuration file has changed is noticed however it was changed, once for each new content, and
// only when whoever writes it has finished.

#include "controlplane/config/file_watcher.h"

#include <chrono>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

namespace fs = std::filesystem;
using Contents = std::vector<std::string>;

class FileWatcherTest : public testing::Test {
 protected:
  static constexpr const char* kGone = "(gone)";

  void watch(const fs::path& file) {
    watcher_.emplace(io_, file, [this, file] { seen_.push_back(content_of(file)); });
  }
  static std::string content_of(const fs::path& file) {
    std::ifstream stream(file);
    return stream ? std::string(std::istreambuf_iterator<char>(stream), {}) : kGone;
  }
  /// Until so many changes were noticed; what was noticed.
  const Contents& after(size_t changes) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (seen_.size() < changes && std::chrono::steady_clock::now() < end)
      io_.run_one_for(std::chrono::milliseconds(100));
    return seen_;
  }

  /// For several times as long as a file has to be quiet.
  void look_around() { io_.run_for(std::chrono::milliseconds(300)); }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  std::optional<FileWatcher> watcher_;
  Contents seen_;
};

TEST_F(FileWatcherTest, SeesAFileThatIsWrittenInPlaceOrReplaced) {
  const fs::path file = folder_.write("linimo.toml", "a");
  watch(file);
  folder_.write("linimo.toml", "b");
  EXPECT_EQ(after(1), Contents({"b"}));
  fs::rename(folder_.write("new", "c"), file);
  EXPECT_EQ(after(2), Contents({"b", "c"}));
}

TEST_F(FileWatcherTest, SaysNothingOfAnotherFileOrTheSameContent) {
  const fs::path file = folder_.write("linimo.toml", "a");
  watch(file);
  folder_.write("other.toml", "x");
  folder_.write("linimo.toml", "b");
  folder_.write("linimo.toml", "a");
  look_around();
  EXPECT_EQ(seen_, Contents{});
  folder_.write("linimo.toml", "c");
  EXPECT_EQ(after(1), Contents({"c"}));
}

// As an editor does that moves the old file away first.
TEST_F(FileWatcherTest, WaitsForAFileThatIsGone) {
  const fs::path file = folder_.write("linimo.toml", "a");
  watch(file);
  fs::rename(file, folder_.path() / "linimo.toml~");
  look_around();
  EXPECT_EQ(seen_, Contents{});
  folder_.write("linimo.toml", "b");
  EXPECT_EQ(after(1), Contents({"b"}));
  fs::remove(file);
  EXPECT_EQ(after(2), Contents({"b", kGone}));
  folder_.write("linimo.toml", "b");
  EXPECT_EQ(after(3), Contents({"b", kGone, "b"})) << "it is back";
}

TEST_F(FileWatcherTest, FollowsASymbolicLinkThatIsSwapped) {
  for (const char* name : {"one", "two"}) fs::create_directory(folder_.path() / name);
  folder_.write("one/linimo.toml", "a");
  folder_.write("two/linimo.toml", "b");
  const fs::path link = folder_.path() / "linimo.toml";
  fs::create_symlink("one/linimo.toml", link);
  watch(link);
  folder_.write("one/linimo.toml", "a2");
  EXPECT_EQ(after(1), Contents({"a2"})) << "where the link leads";
  fs::create_symlink("two/linimo.toml", folder_.path() / "new");
  fs::rename(folder_.path() / "new", link);
  EXPECT_EQ(after(2), Contents({"a2", "b"}));
  folder_.write("two/linimo.toml", "c");
  EXPECT_EQ(after(3), Contents({"a2", "b", "c"})) << "where it leads now";
}

TEST_F(FileWatcherTest, IsQuietOnceItIsGone) {
  const fs::path file = folder_.write("linimo.toml", "a");
  watch(file);
  folder_.write("linimo.toml", "b");
  io_.run_one_for(std::chrono::seconds(10));  // it waits for the file to be quiet
  watcher_.reset();
  io_.run();  // to the end of all that it has begun
  EXPECT_TRUE(seen_.empty());
}

}  // namespace
}  // namespace linimo
