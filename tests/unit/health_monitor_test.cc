// Running many checks: every backend is heard of in time, a reload keeps what has not changed and cancels
// what is gone, nothing is concluded from silence.

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "controlplane/health/monitor.h"
#include "controlplane/health/own_failure.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

TEST(OwnTimeTest, CountsWhatWasLostAndNothingElse) {
  const OwnTime::Time start{std::chrono::hours(1)};
  OwnTime own(start);
  EXPECT_EQ(own.due(), start + milliseconds(50));
  EXPECT_EQ(own.lost(start + milliseconds(50)), milliseconds(0));
  own.on_pulse(start + milliseconds(65));
  EXPECT_EQ(own.lost(start + milliseconds(65)), milliseconds(0)) << "any timer may be so late";
  EXPECT_EQ(own.due(), start + milliseconds(115));
  EXPECT_EQ(own.lost(start + milliseconds(10'115)), milliseconds(10'000)) << "before the pulse has come";
  own.on_pulse(start + milliseconds(10'115));
  EXPECT_EQ(own.lost(start + milliseconds(10'150)), milliseconds(10'000)) << "and after it";
  own.on_pulse(start + milliseconds(10'215));
  EXPECT_EQ(own.lost(start + milliseconds(10'215)), milliseconds(10'050));
}

TEST(OwnTimeTest, TroubleLastsUntilItIsQuietForAWhile) {
  const Trouble::Time start{std::chrono::hours(1)};
  Trouble trouble;
  EXPECT_FALSE(trouble.lasts(start));
  EXPECT_TRUE(trouble.happened(start));
  EXPECT_FALSE(trouble.happened(start + std::chrono::seconds(9)));
  EXPECT_TRUE(trouble.lasts(start + std::chrono::seconds(18)));
  EXPECT_EQ(trouble.since(), start);
  EXPECT_FALSE(trouble.lasts(start + std::chrono::seconds(19)));
  EXPECT_TRUE(trouble.happened(start + std::chrono::seconds(20)));
  EXPECT_EQ(trouble.since(), start + std::chrono::seconds(20));
}

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
  int times_known_ = 0;
  HealthMonitor monitor_{
      io_, prober_,
      [this](const HealthMonitor::Change& change) {
        changes_.push_back(change.backend.address.to_string() + " " + standing_text(change.after));
      },
      [this] { ++times_known_; }};
};

TEST_F(HealthMonitorTest, SettlesWhenEveryBackendWasHeardOf) {
  prober_.dead = {address(2)};
  monitor_.configure(config_of({1, 2, 3}));
  EXPECT_FALSE(monitor_.all_known());
  EXPECT_EQ(state(1), HealthState::kUnknown);
  ASSERT_TRUE(wait([&] { return times_known_ == 1; }));
  EXPECT_EQ(state(1), HealthState::kUp);
  EXPECT_EQ(state(2), HealthState::kDown);
  EXPECT_EQ(monitor_.detail({"web", address(2)}), "connect: Connection refused");
  EXPECT_EQ(changes_.size(), 3u);
}

TEST_F(HealthMonitorTest, SettlesWithoutThoseThatSayNothing) {
  prober_.silent = {address(2)};
  const auto start = std::chrono::steady_clock::now();
  monitor_.configure(config_of({1, 2}));
  ASSERT_TRUE(wait([&] { return times_known_ == 1; }));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(200)) << "2 x (interval + timeout)";
  EXPECT_EQ(state(2), HealthState::kUnknown);
}

TEST_F(HealthMonitorTest, SettlesAtOnceWithoutChecks) {
  Config config = config_of({1});
  config.pools[0].health.reset();
  monitor_.configure(config);
  ASSERT_TRUE(wait([&] { return times_known_ == 1; }));
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
  ASSERT_TRUE(wait([&] { return times_known_ == 1; }));
  EXPECT_EQ(state(1), HealthState::kUp);
}

TEST_F(HealthMonitorTest, WaitsNoLongerForSilenceThanTheStartupDeadline) {
  prober_.silent = {address(1)};
  Config config = config_of({1, 2}, std::chrono::minutes(1));
  config.announce = AnnounceConfig{};
  config.announce->startup_deadline = milliseconds(200);
  monitor_.configure(config);
  run_for(io_, milliseconds(100));
  EXPECT_EQ(times_known_, 0);
  ASSERT_TRUE(wait([&] { return times_known_ == 1; }));
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

// A process that is stopped misses what is due meanwhile, and so does one whose only thread sleeps.
TEST_F(HealthMonitorTest, ConvictsNobodyForATimeInWhichItWasNotThere) {
  Config config = config_of({1}, milliseconds(250));
  config.pools[0].health->fall = 1;
  prober_.slow = {address(1)};
  monitor_.configure(config);
  monitor_.inherit({{{"web", address(1)}, HealthState::kUp}});
  const auto end_check = [&](const Verdict& verdict, milliseconds stopped) {
    prober_.held.clear();
    ASSERT_TRUE(wait([&] { return prober_.held.contains(address(1)); }));
    std::this_thread::sleep_for(stopped);
    prober_.held[address(1)](verdict);
  };
  const Verdict failed{false, "connect: no answer within 250 ms"};
  end_check(failed, milliseconds(400));
  EXPECT_EQ(state(1), HealthState::kUp);
  EXPECT_TRUE(monitor_.detail({"web", address(1)}).starts_with("the checker was not there for "))
      << monitor_.detail({"web", address(1)});
  EXPECT_FALSE(monitor_.lateness().on_time);
  EXPECT_GE(monitor_.lateness().worst, milliseconds(250));
  EXPECT_EQ(monitor_.counts({"web", address(1)}).failures, 0u);

  end_check({true, {}}, milliseconds(400));
  EXPECT_EQ(monitor_.counts({"web", address(1)}).successes, 1u) << "what has answered is well";
  EXPECT_GT(monitor_.counts({"web", address(1)}).took.count(), 0);
  end_check(failed, milliseconds(0));
  EXPECT_EQ(state(1), HealthState::kDown) << "it is there again";
}

TEST_F(HealthMonitorTest, SaysWhatTheCheckerLacks) {
  prober_.slow = {address(1)};
  monitor_.configure(config_of({1}));
  EXPECT_EQ(monitor_.lack(), "");
  ASSERT_TRUE(wait([&] { return prober_.held.contains(address(1)); }));
  prober_.held[address(1)](cannot_check(EMFILE));
  EXPECT_EQ(monitor_.lack(), "the checker cannot: Too many open files");
  EXPECT_EQ(state(1), HealthState::kUnknown);
}

TEST_F(HealthMonitorTest, RaisesTheLimitOfDescriptorsToWhatChecksNeed) {
  Config config = config_of({1, 2, 3});
  const uint64_t needed = descriptors_needed(config);
  config.pools[0].health->type = CheckType::kExec;
  EXPECT_EQ(descriptors_needed(config), needed + uint64_t{3} * 4) << "pipes, and the process";
  config.pools[0].health->type = CheckType::kTcp;
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit low{needed - 1, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &low);
  monitor_.configure(config);
  EXPECT_TRUE(monitor_.descriptors().enough());
  EXPECT_EQ(monitor_.descriptors().limit, needed);
  config.pools[0].backends.push_back({address(4), 100});
  monitor_.configure(config);
  EXPECT_EQ(monitor_.descriptors().limit, needed + 1) << "at a reload, too";
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(HealthMonitorTest, SurvivesReloadsInQuickSuccession) {
  for (int i = 0; i < 200; ++i) {
    monitor_.configure(config_of({i % 7, i % 5 + 10, i % 3 + 20}));
    run_for(io_, milliseconds(i % 4));
  }
  ASSERT_TRUE(wait([&] { return times_known_ == 1; }));
}

}  // namespace
}  // namespace linimo
