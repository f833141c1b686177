// The health of one backend in virtual time: the first verdict counts at once, later ones in rows of `rise`
// and `fall` or by phi, inherited states are kept until checks contradict them, failures are noticed in
// bounded time; a backend that comes back starts slowly, one that comes and goes is held back, one that asks
// to drain does.

#include "controlplane/health/backend_health.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Time = BackendHealth::Time;

constexpr Time kStart{std::chrono::hours(1)};
const Verdict kGood{true, {}};
const Verdict kBad{false, "connect: Connection refused"};
const Verdict kDrain{.healthy = true, .detail = {}, .drains = true};

HealthCheckConfig settings(uint32_t rise = 2, uint32_t fall = 3) {
  HealthCheckConfig config;
  config.interval = milliseconds(1000);
  config.timeout = milliseconds(300);
  config.rise = rise;
  config.fall = fall;
  return config;
}

/// A check each time one is due, each lasting no time, until the standing changes; the time of that.
Time check_until_change(BackendHealth& health, Time now, const Verdict& verdict, double jitter = 0) {
  for (int i = 0; i < 1000; ++i, now = health.next_check()) {
    health.begin_check(now, jitter);
    if (health.on_verdict(verdict, now)) return now;
  }
  ADD_FAILURE() << "nothing changed";
  return now;
}

/// Well for `count` checks; the time of the last.
Time check_well(BackendHealth& health, Time now, int count, double jitter = 0) {
  health.begin_check(now, jitter);
  health.on_verdict(kGood, now);
  for (int i = 1; i < count; ++i) {
    now = health.next_check();
    health.begin_check(now, i % 2 == 0 ? jitter : -jitter);
    health.on_verdict(kGood, now);
  }
  return now;
}

/// Down and up again, as fast as that goes; the time when it is up.
Time flap(BackendHealth& health, Time now) {
  now = check_until_change(health, now, kBad);
  EXPECT_EQ(health.state(), HealthState::kDown);
  now = check_until_change(health, health.next_check(), kGood);
  EXPECT_EQ(health.state(), HealthState::kUp);
  return now;
}

TEST(BackendHealthTest, TakesTheFirstVerdictAtItsWord) {
  BackendHealth good(settings(), HealthState::kUnknown, kStart);
  EXPECT_EQ(good.state(), HealthState::kUnknown);
  EXPECT_FALSE(good.checked());
  EXPECT_TRUE(good.on_verdict(kGood, kStart));
  EXPECT_EQ(good.state(), HealthState::kUp);
  EXPECT_TRUE(good.checked());

  BackendHealth bad(settings(), HealthState::kUnknown, kStart);
  EXPECT_TRUE(bad.on_verdict(kBad, kStart));
  EXPECT_EQ(bad.state(), HealthState::kDown);
  EXPECT_EQ(bad.detail(), kBad.detail);
}

TEST(BackendHealthTest, NeedsVerdictsInARow) {
  BackendHealth health(settings(2, 3), HealthState::kUnknown, kStart);
  health.on_verdict(kGood, kStart);
  EXPECT_FALSE(health.on_verdict(kBad, kStart));
  EXPECT_FALSE(health.on_verdict(kBad, kStart));
  EXPECT_FALSE(health.on_verdict(kGood, kStart));  // breaks the row
  EXPECT_FALSE(health.on_verdict(kBad, kStart));
  EXPECT_FALSE(health.on_verdict(kBad, kStart));
  EXPECT_TRUE(health.on_verdict(kBad, kStart));
  EXPECT_EQ(health.state(), HealthState::kDown);
  EXPECT_FALSE(health.on_verdict(kGood, kStart));
  EXPECT_EQ(health.detail(), kBad.detail);  // why it is down, until it is up
  EXPECT_TRUE(health.on_verdict(kGood, kStart));
  EXPECT_EQ(health.state(), HealthState::kUp);
  EXPECT_EQ(health.detail(), "starts slowly: 1/8");
}

TEST(BackendHealthTest, KeepsAnInheritedStateUntilARowContradictsIt) {
  BackendHealth up(settings(2, 2), HealthState::kUp, kStart);
  EXPECT_FALSE(up.on_verdict(kBad, kStart));
  EXPECT_TRUE(up.checked());
  EXPECT_TRUE(up.on_verdict(kBad, kStart));

  BackendHealth late(settings(2, 2), HealthState::kUnknown, kStart);
  late.inherit(HealthState::kUp, kStart);
  EXPECT_EQ(late.state(), HealthState::kUp);
  late.on_verdict(kGood, kStart);
  late.inherit(HealthState::kDown, kStart);  // what checks have said counts more
  EXPECT_EQ(late.state(), HealthState::kUp);
}

TEST(BackendHealthTest, ChecksFromStartToStartWithATenthOfJitter) {
  BackendHealth health(settings(), HealthState::kUnknown, kStart);
  EXPECT_EQ(health.next_check(), kStart);
  const std::pair<double, int> jitters[] = {{0, 1000}, {-1, 900}, {1, 1100}};
  for (const auto& [jitter, expected] : jitters) {
    health.begin_check(kStart, jitter);
    health.on_verdict(kGood, kStart + milliseconds(250));  // however long it lasted
    EXPECT_EQ(health.next_check(), kStart + milliseconds(expected));
  }
}

TEST(BackendHealthTest, ChecksQuicklyWhileAStateIsChangingAndSlowlyWhileDown) {
  BackendHealth health(settings(2, 2), HealthState::kUp, kStart);
  const auto pause_after = [&](const Verdict& verdict) {
    health.begin_check(kStart, 0);
    health.on_verdict(verdict, kStart);
    return health.next_check() - kStart;
  };
  EXPECT_EQ(pause_after(kGood), milliseconds(1000));
  EXPECT_EQ(pause_after(kBad), milliseconds(200));
  EXPECT_EQ(pause_after(kGood), milliseconds(1000));
  EXPECT_EQ(pause_after(kBad), milliseconds(200));
  EXPECT_EQ(pause_after(kBad), milliseconds(4000)) << "down";
  EXPECT_EQ(pause_after(kGood), milliseconds(200));
  EXPECT_EQ(pause_after(kBad), milliseconds(4000));
  EXPECT_EQ(pause_after(kGood), milliseconds(200));
  EXPECT_EQ(pause_after(kGood), milliseconds(1000)) << "up";
}

TEST(BackendHealthTest, NoticesAFailureInBoundedTime) {
  // The worst case: death right after a success, every jitter against us, every check lasting its timeout.
  // For phi, a past so uneven that nothing is improbable.
  for (const Detector detector : {Detector::kCount, Detector::kPhi}) {
    HealthCheckConfig config = settings(2, 3);
    config.detector = detector;
    config.phi_threshold = 16;
    BackendHealth health(config, HealthState::kUp, kStart);
    Time death = kStart;
    for (int i = 0; i < 50; ++i) {
      health.begin_check(death, 1);
      health.on_verdict(kGood, death);
      death += milliseconds(i % 2 == 0 ? 100 : 6000);
    }
    health.begin_check(death, 1);
    health.on_verdict(kGood, death);
    for (Time now = health.next_check();; now = health.next_check()) {
      health.begin_check(now, 1);
      const Time end = now + config.timeout;
      if (!health.on_verdict(kBad, end)) continue;
      EXPECT_LE(end - death, milliseconds(3 * 1100 + 300));
      break;
    }
  }
}

TEST(BackendHealthTest, JudgesSilencesByThePastWithPhi) {
  HealthCheckConfig config = settings(2, 3);
  config.detector = Detector::kPhi;
  const auto noticed_after = [](const HealthCheckConfig& with) {
    BackendHealth health(with, HealthState::kUp, kStart);
    const Time last = check_well(health, kStart, 50, 0.5);
    return check_until_change(health, health.next_check(), kBad) - last;
  };
  const auto usual = noticed_after(config);
  EXPECT_GT(usual, milliseconds(1400)) << "one failed check is no proof";
  EXPECT_LT(usual, milliseconds(1900)) << "phi 8 is 5.6 deviations, of which each is a tenth of the interval";
  config.phi_threshold = 2;
  EXPECT_LT(noticed_after(config), usual);
}

TEST(BackendHealthTest, PhiKnowsTheLastHundredIntervalsAlone) {
  PhiDetector detector(milliseconds(1000));
  Time now = kStart;
  const auto succeed = [&](int times, milliseconds interval) {
    for (int i = 0; i < times; ++i) detector.on_success(now += interval);
  };
  succeed(150, milliseconds(5000));
  EXPECT_LT(detector.phi(now + milliseconds(5000)), 1);
  succeed(99, milliseconds(1000));
  EXPECT_LT(detector.phi(now + milliseconds(2000)), 3) << "one of five seconds is remembered";
  succeed(1, milliseconds(1000));
  EXPECT_GT(detector.phi(now + milliseconds(2000)), 8);
}

TEST(BackendHealthTest, StartsSlowlyAfterADeath) {
  HealthCheckConfig config = settings(1, 1);
  config.slow_start = milliseconds(7000);
  BackendHealth health(config, HealthState::kUnknown, kStart);
  health.on_verdict(kGood, kStart);
  EXPECT_EQ(health.standing().eighths, 8u) << "nobody knows that it was ever down";
  EXPECT_EQ(health.next_step(), std::nullopt);

  const Time up = flap(health, kStart + milliseconds(1000));
  EXPECT_EQ(health.standing().eighths, 1u);
  EXPECT_EQ(health.detail(), "starts slowly: 1/8");
  for (uint32_t eighths = 2; eighths <= 8; ++eighths) {
    const Time due = up + milliseconds(1000) * (eighths - 1);
    ASSERT_EQ(health.next_step(), due);
    EXPECT_FALSE(health.advance(due - milliseconds(1)));
    EXPECT_TRUE(health.advance(due));
    EXPECT_EQ(health.standing().eighths, eighths);
  }
  EXPECT_EQ(health.next_step(), std::nullopt);
  EXPECT_EQ(health.detail(), "");

  const Time again = flap(health, up + milliseconds(20'000));
  EXPECT_TRUE(health.advance(again + milliseconds(3500))) << "several steps at once, for who comes late";
  EXPECT_EQ(health.standing().eighths, 4u);
  check_until_change(health, again + milliseconds(3600), kBad);
  EXPECT_EQ(health.next_step(), std::nullopt) << "who is down does not start";

  config.slow_start = milliseconds(0);
  BackendHealth at_once(config, HealthState::kUp, kStart);
  flap(at_once, kStart);
  EXPECT_EQ(at_once.standing().eighths, 8u);
}

TEST(BackendHealthTest, GoesOnWithASlowStartThatItInherits) {
  HealthCheckConfig config = settings(1, 1);
  config.slow_start = milliseconds(7000);
  Standing started = HealthState::kUp;
  started.eighths = 3;
  BackendHealth health(config, HealthState::kUnknown, kStart);
  ASSERT_TRUE(health.inherit(started, kStart));
  EXPECT_EQ(health.standing().eighths, 3u);
  EXPECT_EQ(health.next_step(), kStart + milliseconds(1000));
  EXPECT_FALSE(health.on_verdict(kGood, kStart)) << "it was up before";
  EXPECT_TRUE(health.advance(kStart + milliseconds(5000)));
  EXPECT_EQ(health.standing().eighths, 8u);

  BackendHealth other_checks(config, started, kStart);  // as at a reload that changes its checks
  EXPECT_EQ(other_checks.standing().eighths, 3u);
  config.slow_start = milliseconds(0);
  EXPECT_EQ(BackendHealth(config, started, kStart).standing().eighths, 8u)
      << "who starts at once has started";
}

TEST(BackendHealthTest, HoldsBackWhoComesAndGoes) {
  HealthCheckConfig config = settings(1, 1);
  config.slow_start = milliseconds(7000);
  config.down_interval = milliseconds(1000);
  BackendHealth health(config, HealthState::kUp, kStart);
  Time now = flap(health, flap(health, kStart));
  EXPECT_FALSE(health.standing().held_back) << "twice may be bad luck";
  now = flap(health, now);
  EXPECT_TRUE(health.standing().held_back);
  EXPECT_EQ(health.state(), HealthState::kUp);
  EXPECT_EQ(health.detail(), "held back: it came and went too often");

  const Time release = health.next_step().value();
  EXPECT_GT(release - now, milliseconds(60'000)) << "a penalty of almost 3 has to fall to 1";
  EXPECT_LT(release - now, milliseconds(120'000));
  EXPECT_TRUE(health.advance(release));
  EXPECT_FALSE(health.standing().held_back);
  EXPECT_EQ(health.standing().eighths, 1u) << "its slow start begins then";
  EXPECT_EQ(health.next_step(), release + milliseconds(1000));

  now = flap(health, release + std::chrono::hours(1));
  EXPECT_FALSE(health.standing().held_back) << "that was long ago";

  config.flap_half_life = milliseconds(0);
  BackendHealth never(config, HealthState::kUp, kStart);
  for (now = kStart; now < kStart + milliseconds(60'000);) now = flap(never, now);
  EXPECT_FALSE(never.standing().held_back);
}

TEST(BackendHealthTest, ConcludesNothingFromACheckThatCouldNotBeMade) {
  const Verdict nothing{.healthy = false, .detail = "no data plane", .says_nothing = true};
  BackendHealth unknown(settings(1, 1), HealthState::kUnknown, kStart);
  unknown.begin_check(kStart, 0);
  EXPECT_FALSE(unknown.on_verdict(nothing, kStart));
  EXPECT_EQ(unknown.state(), HealthState::kUnknown);
  EXPECT_FALSE(unknown.checked());
  EXPECT_EQ(unknown.detail(), "no data plane");
  EXPECT_EQ(unknown.next_check(), kStart + milliseconds(200)) << "soon, there may be one again";

  BackendHealth up(settings(2, 2), HealthState::kUp, kStart);
  up.on_verdict(kBad, kStart);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(up.on_verdict(nothing, kStart));
  EXPECT_EQ(up.state(), HealthState::kUp);
  EXPECT_TRUE(up.on_verdict(kBad, kStart)) << "nor does it break a row";
}

TEST(BackendHealthTest, DoesNotHurryWhileTheCheckerLacksSomething) {
  const Verdict nothing{
      .healthy = false, .detail = "no descriptors", .says_nothing = true, .checker_lacks = true};
  BackendHealth health(settings(1, 1), HealthState::kUp, kStart);
  health.begin_check(kStart, 0);
  EXPECT_FALSE(health.on_verdict(nothing, kStart));
  EXPECT_EQ(health.state(), HealthState::kUp);
  EXPECT_EQ(health.next_check(), kStart + milliseconds(1000));
}

TEST(BackendHealthTest, TakesATimeInWhichNobodyListenedForNoSilence) {
  HealthCheckConfig config = settings(2, 3);
  config.detector = Detector::kPhi;
  const auto noticed_after = [&](std::chrono::seconds gap, bool paused) {
    BackendHealth health(config, HealthState::kUp, kStart);
    const Time last = check_well(health, kStart, 50, 0.5);
    Time due = health.next_check();
    if (paused) {
      health.pause(gap);
      EXPECT_EQ(health.next_check(), due + gap) << "it goes on where it was";
    }
    due += gap;
    return check_until_change(health, due, kBad) - last - gap;
  };
  using std::chrono::seconds;
  const auto usual = noticed_after(seconds(0), false);
  EXPECT_GT(usual, milliseconds(1400));
  EXPECT_EQ(noticed_after(seconds(10), true), usual);
  EXPECT_LT(noticed_after(seconds(10), false), milliseconds(1100)) << "without that, by its first failure";
}

TEST(BackendHealthTest, LetsABackendDrainItself) {
  BackendHealth health(settings(1, 1), HealthState::kUnknown, kStart);
  EXPECT_TRUE(health.on_verdict(kDrain, kStart));
  EXPECT_EQ(health.state(), HealthState::kUp);
  EXPECT_TRUE(health.standing().drains);
  EXPECT_EQ(health.detail(), "asks for no new flows");
  EXPECT_FALSE(health.on_verdict(kDrain, kStart));
  EXPECT_TRUE(health.on_verdict(kGood, kStart)) << "one answer is enough: it says what it wants";
  EXPECT_FALSE(health.standing().drains);
  EXPECT_TRUE(health.on_verdict(kDrain, kStart));
  EXPECT_TRUE(health.on_verdict(kBad, kStart));
  EXPECT_EQ(health.standing(), Standing(HealthState::kDown)) << "who drains may die, too";
}

TEST(BackendHealthTest, SaysInWordsHowABackendStands) {
  EXPECT_EQ(standing_text(HealthState::kUp), "up");
  EXPECT_EQ(standing_text(HealthState::kUnknown), "unknown");
  Standing starts = HealthState::kUp;
  starts.eighths = 3;
  EXPECT_EQ(standing_text(starts), "up (starts slowly: 3/8)");
}

/// Who begins to check a backend that starts slowly goes on where others have it, once its own check says
/// that it is up.
TEST(BackendHealthTest, GoesOnFromAShareThatOthersTell) {
  HealthCheckConfig config = settings(1, 1);
  config.slow_start = milliseconds(7000);
  BackendHealth health(config, HealthState::kUnknown, kStart);
  Standing told = HealthState::kUnknown;
  told.eighths = 3;
  EXPECT_FALSE(health.inherit(told, kStart));
  EXPECT_EQ(health.state(), HealthState::kUnknown);
  health.begin_check(kStart, 0);
  EXPECT_TRUE(health.on_verdict(kGood, kStart));
  EXPECT_EQ(health.state(), HealthState::kUp);
  EXPECT_EQ(health.standing().eighths, 3U);
  EXPECT_TRUE(health.advance(kStart + milliseconds(1000)));
  EXPECT_EQ(health.standing().eighths, 4U);
}

}  // namespace
}  // namespace linimo
