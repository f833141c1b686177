// What is known about one backend's health, and what follows from it for its place in the tables: verdicts
// and time in, a standing out. No I/O and no clock of its own, so that tests run it in virtual time.
//
//   BackendHealth health(config, HealthState::kUnknown, now);
//   health.begin_check(now, jitter);                         // and start the check
//   if (health.on_verdict(verdict, now)) publish(health.standing());
//   wait_until(health.next_check());
//   if (health.advance(now)) publish(health.standing());     // at next_step(), where there is one
//
// A backend of which nothing is known takes the first verdict at its word. After that it takes `rise`
// successes in a row to be up, and `fall` failures (or an improbable silence, phi_detector.h) to be down; and
// so it does for a backend whose state was inherited from the tables that are live: unknown is not down.
// While verdicts contradict the state, checks follow quickly; while it is down, slowly.
//
// What a dead backend costs is bounded: it is down at most interval x 1.1 x fall + timeout after its death,
// whatever the detector (or 220 ms instead of the timeout, if the timeout is shorter).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "controlplane/config/config.h"
#include "controlplane/health/flap_damper.h"
#include "controlplane/health/phi_detector.h"

namespace linimo {

enum class HealthState { kUnknown, kUp, kDown };
const char* health_name(HealthState state);

/// What the tables need to know of a backend.
struct Standing {
  static constexpr uint32_t kFullWeight = 8;

  // Implicit: to most that use it, a standing is a state and no more.
  Standing(HealthState of) : health(of) {}  // NOLINT(google-explicit-constructor)

  HealthState health;
  uint32_t eighths = kFullWeight;  // of its weight: less while it starts slowly
  bool drains = false;             // it asks for no new flows
  bool held_back = false;          // it is up, and was up and down too often

  bool operator==(const Standing&) const = default;
};
/// What there is to say of it beyond its state; empty: nothing.
std::string standing_note(const Standing& standing);
/// The state and the note, for a log.
std::string standing_text(const Standing& standing);

struct Verdict {
  bool healthy = false;
  std::string detail;          // of a failure: what went wrong, for people
  bool drains = false;         // healthy, and asks for no new flows
  bool says_nothing = false;   // the check could not be made: `detail` says why, and nothing follows
  bool checker_lacks = false;  // and that is so because this machine lacks something
};

/// Checks that ended since this process first checked the backend.
struct CheckCounts {
  uint64_t successes = 0;
  uint64_t failures = 0;
  std::chrono::nanoseconds took{0};  // all of them together
};

class BackendHealth {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// What was known of it before: as `inherit`.
  BackendHealth(const HealthCheckConfig& config, const Standing& inherited, Time first_check);

  const HealthCheckConfig& config() const { return config_; }
  const Standing& standing() const { return standing_; }
  HealthState state() const { return standing_.health; }
  bool checked() const { return checked_; }  // had a verdict of its own
  std::string detail() const;

  /// A check starts now. `jitter` from -1 to 1 moves the next one by up to a tenth of the time until then, so
  /// that checks of many backends do not fall into step.
  void begin_check(Time now, double jitter);

  /// True when the standing has changed.
  bool on_verdict(const Verdict& verdict, Time now);

  /// When the next check is due; after a verdict. From the start of the last one, not from its end: what a
  /// failing backend costs in time must not depend on how slowly it fails.
  Time next_check() const { return next_check_; }

  /// When the standing will next change by itself, if it will; `advance` then does it. True when it has.
  std::optional<Time> next_step() const;
  bool advance(Time now);

  /// The checker was not there for so long: of that time nothing is known. The silence of the backend, and
  /// the way to the next check, go on after it as if it had not been.
  void pause(Time::duration gap);

  /// For a backend that no check has spoken of yet: what the live tables say. Of a slow start the step is
  /// known, not how much of it is over: it begins anew. Where the state is unknown and the step is not, its
  /// first check that says it is up goes on from there. False when something is known already.
  bool inherit(const Standing& standing, Time now);

 private:
  bool contradicts(const Verdict& verdict, Time now);
  void come_up(bool for_the_first_time, Time now);
  void start_from(uint32_t eighths, Time now);
  void go_down(bool for_the_first_time, Time now);
  std::chrono::milliseconds spacing() const;
  Time::duration step_of_slow_start() const;
  void await_check(std::chrono::milliseconds spacing);

  HealthCheckConfig config_;
  Standing standing_;
  bool checked_ = false;
  uint32_t first_eighths_ = Standing::kFullWeight;  // what it has when it is up for the first time
  uint32_t contrary_ = 0;                           // verdicts in a row that speak against the state
  std::string detail_;

  Time check_start_;
  double jitter_ = 0;
  Time next_check_;

  PhiDetector phi_;
  std::optional<Time> last_success_;
  FlapDamper damper_;
  Time released_at_{};   // while it is held back
  Time weighed_from_{};  // since when it starts slowly
};

}  // namespace linimo
