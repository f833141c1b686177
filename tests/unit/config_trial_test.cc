// A configuration by which a process dies is the death of that one alone: the next starts with the last good
// one.

#include "controlplane/config_trial.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "controlplane/log.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

class ConfigTrialTest : public testing::Test {
 protected:
  ConfigTrialTest() {
    set_log_level("error");
    folder_.write("seed", "0123456789abcdef");
    std::filesystem::create_directory(state());
  }

  std::filesystem::path state() const { return folder_.path() / "state"; }
  std::filesystem::path file() const { return folder_.path() / "linimo.toml"; }
  std::string text(std::string_view name) const {
    return fmt::format(
        "[node]\nname = \"{}\"\ninterfaces = [\"eth0\"]\nhash_seed_file = \"{}/seed\"\nruntime_dir = "
        "\"{}/run\"\n"
        "state_dir = \"{}\"\n",
        name, folder_.path().string(), folder_.path().string(), state().string());
  }
  StartConfig start(const std::string& content) {
    folder_.write("linimo.toml", content);
    return load_at_start(file());
  }
  /// A start with this text that ends in the middle, as by a signal: what was noted stays.
  void die_by(const std::string& content) {
    {
      const StartConfig started = start(content);
      std::filesystem::copy_file(state() / "config.trying", state() / "kept");
    }
    std::filesystem::rename(state() / "kept", state() / "config.trying");
  }
  void pass(const std::string& content) {
    StartConfig started = start(content);
    ASSERT_TRUE(started.config) << started.config.error();
    started.trial.pass();
  }
  size_t files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(state()), {}));
  }

  TemporaryFolder folder_;
};

TEST_F(ConfigTrialTest, TheNextStartTakesTheLastGoodOne) {
  pass(text("good"));
  die_by(text("bad"));
  for (int again = 0; again < 2; ++again) {
    const StartConfig started = start(text("bad"));
    ASSERT_TRUE(started.config) << started.config.error();
    EXPECT_EQ(started.config->node.name, "good");
    EXPECT_EQ(started.config->file, file()) << "which is what a reload reads";
    EXPECT_EQ(started.complaint,
              file().string() +
                  ": the process died when it loaded this; the last good configuration is in "
                  "force until the file changes, or is reloaded");
  }
  const StartConfig changed = start(text("another"));
  EXPECT_EQ(changed.config->node.name, "another");
  EXPECT_EQ(changed.complaint, "");
}

TEST_F(ConfigTrialTest, WithoutAGoodOneItIsRefused) {
  die_by(text("bad"));
  const StartConfig started = start(text("bad"));
  ASSERT_FALSE(started.config);
  EXPECT_EQ(started.config.error(), file().string() +
                                        ": the process died when it loaded this; change it, or remove " +
                                        (state() / "config.trying").string() + " to try it once more");
  std::filesystem::remove(state() / "config.trying");
  EXPECT_TRUE(start(text("bad")).config);
}

TEST_F(ConfigTrialTest, OnlyWhatHasPassedIsGood) {
  pass(text("good"));
  { const StartConfig ended = start(text("ended")); }
  EXPECT_EQ(start(text("ended")).config->node.name, "ended") << "no death";
  EXPECT_FALSE(start("[node]\n").config) << "refused";
  EXPECT_EQ(start("[node]\n").complaint, "") << "no death either";
  EXPECT_EQ(files(), 1U) << "nothing is left of them";
  EXPECT_EQ(ConfigTrial(state()).last_good(), text("good"));
}

/// A process that ends by whatever cause has not died by what every start before it has lived with.
TEST_F(ConfigTrialTest, WhatHasPassedBeforeIsOnNoTrial) {
  pass(text("good"));
  const StartConfig started = start(text("good"));
  EXPECT_EQ(files(), 1U);
}

TEST_F(ConfigTrialTest, HalfANoteIsNone) {
  pass(text("good"));
  std::ofstream(state() / "config.trying.next") << "[node";
  const StartConfig started = start(text("new"));
  EXPECT_EQ(started.complaint, "");
  EXPECT_EQ(started.config->node.name, "new");
}

TEST_F(ConfigTrialTest, AFolderThatOthersWriteToIsNotBelieved) {
  pass(text("good"));
  die_by(text("bad"));
  std::filesystem::permissions(state(), std::filesystem::perms::others_write,
                               std::filesystem::perm_options::add);
  EXPECT_EQ(start(text("bad")).config->node.name, "bad");
}

TEST(StateDir, IsFoundWithoutParsing) {
  EXPECT_EQ(state_dir_named_in(""), "/var/lib/linimo");
  EXPECT_EQ(state_dir_named_in("runtime_dir = \"/run/other\""), "/var/lib/other");
  EXPECT_EQ(
      state_dir_named_in("runtime_dir = '/tmp/x'\n  state_dir\t=\"/srv/state\"  # here\nstate_dir = \"/no\""),
      "/srv/state");
  for (const char* other : {"state_dir", "state_dir =", "state_dir = \"/open", "state_dir = 5",
                            "state_dirs = \"/a\"", "# state_dir = \"/a\"", "a.state_dir = \"/a\""})
    EXPECT_EQ(state_dir_named_in(other), "/var/lib/linimo") << other;
}

}  // namespace
}  // namespace linimo
