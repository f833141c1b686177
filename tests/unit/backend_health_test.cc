// The health of one backend in virtual time: the first verdict counts at once, later ones in rows of `rise`
// and `fall`, inherited states are kept until checks contradict them, and failures are noticed in bounded
// time.

#include "controlplane/health/backend_health.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Time = BackendHealth::Time;

constexpr Time kStart{std::chrono::hours(1)};
const Verdict kGood{true, {}};
const Verdict kBad{false, "connect: Connection refused"};

HealthCheckConfig settings(uint32_t rise = 2, uint32_t fall = 3) {
  HealthCheckConfig config;
  config.interval = milliseconds(1000);
  config.timeout = milliseconds(300);
  config.rise = rise;
  config.fall = fall;
  return config;
}

TEST(BackendHealthTest, TakesTheFirstVerdictAtItsWord) {
  BackendHealth good(settings(), HealthState::kUnknown, kStart);
  EXPECT_EQ(good.state(), HealthState::kUnknown);
  EXPECT_FALSE(good.checked());
  EXPECT_TRUE(good.on_verdict(kGood));
  EXPECT_EQ(good.state(), HealthState::kUp);
  EXPECT_TRUE(good.checked());

  BackendHealth bad(settings(), HealthState::kUnknown, kStart);
  EXPECT_TRUE(bad.on_verdict(kBad));
  EXPECT_EQ(bad.state(), HealthState::kDown);
  EXPECT_EQ(bad.detail(), kBad.detail);
}

TEST(BackendHealthTest, NeedsVerdictsInARow) {
  BackendHealth health(settings(2, 3), HealthState::kUnknown, kStart);
  health.on_verdict(kGood);
  EXPECT_FALSE(health.on_verdict(kBad));
  EXPECT_FALSE(health.on_verdict(kBad));
  EXPECT_FALSE(health.on_verdict(kGood));  // breaks the row
  EXPECT_FALSE(health.on_verdict(kBad));
  EXPECT_FALSE(health.on_verdict(kBad));
  EXPECT_TRUE(health.on_verdict(kBad));
  EXPECT_EQ(health.state(), HealthState::kDown);
  EXPECT_FALSE(health.on_verdict(kGood));
  EXPECT_EQ(health.detail(), kBad.detail);  // why it is down, until it is up
  EXPECT_TRUE(health.on_verdict(kGood));
  EXPECT_EQ(health.state(), HealthState::kUp);
  EXPECT_EQ(health.detail(), "");
}

TEST(BackendHealthTest, KeepsAnInheritedStateUntilARowContradictsIt) {
  BackendHealth up(settings(2, 2), HealthState::kUp, kStart);
  EXPECT_FALSE(up.on_verdict(kBad));
  EXPECT_TRUE(up.checked());
  EXPECT_TRUE(up.on_verdict(kBad));

  BackendHealth late(settings(2, 2), HealthState::kUnknown, kStart);
  late.inherit(HealthState::kUp);
  EXPECT_EQ(late.state(), HealthState::kUp);
  late.on_verdict(kGood);
  late.inherit(HealthState::kDown);  // what checks have said counts more
  EXPECT_EQ(late.state(), HealthState::kUp);
}

TEST(BackendHealthTest, ChecksFromStartToStartWithATenthOfJitter) {
  BackendHealth health(settings(), HealthState::kUnknown, kStart);
  EXPECT_EQ(health.next_check(), kStart);
  health.begin_check(kStart, 0);
  EXPECT_EQ(health.next_check(), kStart + milliseconds(1000));
  health.begin_check(kStart, -1);
  EXPECT_EQ(health.next_check(), kStart + milliseconds(900));
  health.begin_check(kStart, 1);
  EXPECT_EQ(health.next_check(), kStart + milliseconds(1100));
}

TEST(BackendHealthTest, NoticesAFailureInBoundedTime) {
  // The worst case: death right after a success, every jitter against us, every check lasting its timeout.
  const HealthCheckConfig config = settings(2, 3);
  BackendHealth health(config, HealthState::kUp, kStart);
  health.begin_check(kStart, 1);
  health.on_verdict(kGood);
  const Time death = kStart;
  Time noticed{};
  for (Time now = health.next_check();; now = health.next_check()) {
    health.begin_check(now, 1);
    if (!health.on_verdict(kBad)) continue;
    noticed = now + config.timeout;
    break;
  }
  EXPECT_LE(noticed - death, milliseconds(3 * 1100 + 300));
}

}  // namespace
}  // namespace linimo
