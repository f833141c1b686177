// Running many checks: every backend is heard of in time, a reload keeps what has not changed and cancels
// what is gone, nothing is concluded from silence.

#include <algorithm>

#include <gtest/gtest.h>

#include "controlplane/health/monitor.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

Address address(int number) {
  return *Address::parse("10.0.1." + std::to_string(number));
}

Config config_of(const std::vector<int>& numbers, milliseconds interval = milliseconds(50)) {
  PoolConfig pool;
  pool.name = "web";
  pool.health = HealthCheckConfig{};
  pool.health->interval = interval;
  pool.health->timeout = interval;
  pool.health->down_interval = interval;
  for (const int number : numbers) pool.backends.push_back({address(number), 100});
  Config config;
  config.pools = {pool};
  return config;
}

class HealthMonitorTest : public testing::Test {
 protected:
  HealthState state(int number) { return monitor_.state({"web", address(number)}); }
  bool wait(const std::function<bool()>& condition) { return run_until(io_, condition); }

  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::vector<std::string> changes_;
  int settled_ = 0;
  HealthMonitor monitor_{
      io_, prober_,
      [this](const HealthMonitor::Change& change) {
        changes_.push_back(change.backend.address.to_string() + " " + standing_text(change.after));
      },
      [this] { ++settled_; }};
};

TEST_F(HealthMonitorTest, SettlesWhenEveryBackendWasHeardOf) {
  prober_.dead = {address(2)};
  monitor_.configure(config_of({1, 2, 3}));
  EXPECT_FALSE(monitor_.settled());
  EXPECT_EQ(state(1), HealthState::kUnknown);
  ASSERT_TRUE(wait([&] { return settled_ == 1; }));
  EXPECT_EQ(state(1), HealthState::kUp);
  EXPECT_EQ(state(2), HealthState::kDown);
  EXPECT_EQ(monitor_.detail({"web", address(2)}), "connect: Connection refused");
  EXPECT_EQ(changes_.size(), 3u);
}

TEST_F(HealthMonitorTest, SettlesWithoutThoseThatSayNothing) {
  prober_.silent = {address(2)};
  const auto start = std::chrono::steady_clock::now();
  monitor_.configure(config_of({1, 2}));
  ASSERT_TRUE(wait([&] { return settled_ == 1; }));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(200)) << "2 x (interval + timeout)";
  EXPECT_EQ(state(2), HealthState::kUnknown);
}

TEST_F(HealthMonitorTest, SettlesAtOnceWithoutChecks) {
  Config config = config_of({1});
  config.pools[0].health.reset();
  monitor_.configure(config);
  ASSERT_TRUE(wait([&] { return settled_ == 1; }));
  EXPECT_EQ(state(1), HealthState::kUp);
}

TEST_F(HealthMonitorTest, GoesOnChecking) {
  monitor_.configure(config_of({1}));
  ASSERT_TRUE(wait([&] { return prober_.started[address(1)] >= 3; }));
  prober_.dead = {address(1)};
  ASSERT_TRUE(wait([&] { return state(1) == HealthState::kDown; }));
  prober_.dead = {};
  ASSERT_TRUE(wait([&] { return state(1) == HealthState::kUp; }));
  EXPECT_EQ(changes_,
            (std::vector<std::string>{"10.0.1.1 up", "10.0.1.1 down", "10.0.1.1 up (starts slowly: 1/8)"}));
}

TEST_F(HealthMonitorTest, LetsTimePassForThoseThatStartSlowly) {
  Config config = config_of({1});
  config.pools[0].health->slow_start = milliseconds(70);
  config.pools[0].health->fall = 1;
  config.pools[0].health->rise = 1;
  monitor_.configure(config);
  ASSERT_TRUE(wait([&] { return state(1) == HealthState::kUp; }));
  prober_.dead = {address(1)};
  ASSERT_TRUE(wait([&] { return state(1) == HealthState::kDown; }));
  changes_.clear();
  prober_.dead = {};
  ASSERT_TRUE(wait([&] { return !changes_.empty() && changes_.back() == "10.0.1.1 up"; }));
  EXPECT_EQ(changes_.front(), "10.0.1.1 up (starts slowly: 1/8)");
  EXPECT_LE(changes_.size(), 8u);
}

TEST_F(HealthMonitorTest, KeepsStatesOverAReloadAndCancelsWhatIsGone) {
  prober_.dead = {address(1)};
  prober_.silent = {address(3)};
  monitor_.configure(config_of({1, 2, 3}, milliseconds(2000)));
  ASSERT_TRUE(wait([&] { return changes_.size() == 2 && prober_.started[address(3)] == 1; }));
  monitor_.configure(config_of({1, 2, 4}, milliseconds(2000)));
  EXPECT_EQ(prober_.cancelled, 1);
  EXPECT_EQ(state(1), HealthState::kDown);
  EXPECT_EQ(state(2), HealthState::kUp);
  EXPECT_EQ(state(4), HealthState::kUnknown);
  EXPECT_EQ(prober_.started[address(1)], 1) << "a check that did not change goes on as it was";

  monitor_.configure(config_of({1, 2}, milliseconds(50)));  // other settings: checked anew, state inherited
  EXPECT_EQ(state(1), HealthState::kDown);
  ASSERT_TRUE(wait([&] { return prober_.started[address(1)] == 2; }));
  EXPECT_EQ(state(1), HealthState::kDown);
}

TEST_F(HealthMonitorTest, TakesAnUncheckedBackendForWhatItWas) {
  prober_.silent = {address(1), address(2)};
  monitor_.configure(config_of({1, 2, 3}));
  monitor_.inherit({{{"web", address(1)}, HealthState::kUp}, {{"web", address(9)}, HealthState::kUp}});
  EXPECT_EQ(state(1), HealthState::kUp);
  EXPECT_EQ(state(2), HealthState::kUnknown);
  ASSERT_TRUE(wait([&] { return settled_ == 1; }));
  EXPECT_EQ(state(1), HealthState::kUp);
}

TEST_F(HealthMonitorTest, WaitsNoLongerForSilenceThanTheStartupDeadline) {
  prober_.silent = {address(1)};
  Config config = config_of({1, 2}, std::chrono::minutes(1));
  config.announce = AnnounceConfig{};
  config.announce->startup_deadline = milliseconds(200);
  monitor_.configure(config);
  run_for(io_, milliseconds(100));
  EXPECT_EQ(settled_, 0);
  ASSERT_TRUE(wait([&] { return settled_ == 1; }));
  EXPECT_EQ(state(1), HealthState::kUnknown) << "nothing is concluded from it";
}

TEST_F(HealthMonitorTest, GoesOnWithInheritedSlowStarts) {
  Config config = config_of({1, 2});
  config.pools[0].health->slow_start = milliseconds(140);
  monitor_.configure(config);
  Standing started = HealthState::kUp;
  started.eighths = 6;
  monitor_.inherit({{{"web", address(1)}, started}});
  EXPECT_EQ(monitor_.standing({"web", address(1)}).eighths, 6u);
  ASSERT_TRUE(wait([&] { return monitor_.standing({"web", address(1)}).eighths == 8; }));
  EXPECT_NE(std::find(changes_.begin(), changes_.end(), "10.0.1.1 up (starts slowly: 7/8)"), changes_.end());
}

TEST_F(HealthMonitorTest, SurvivesReloadsInQuickSuccession) {
  for (int i = 0; i < 200; ++i) {
    monitor_.configure(config_of({i % 7, i % 5 + 10, i % 3 + 20}));
    run_for(io_, milliseconds(i % 4));
  }
  ASSERT_TRUE(wait([&] { return settled_ == 1; }));
}

}  // namespace
}  // namespace linimo
