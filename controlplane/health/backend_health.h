// What is known about one backend's health: verdicts in, a state out. No I/O and no clock of its own, so that
// tests run it in virtual time.
//
//   BackendHealth health(config, HealthState::kUnknown, now);
//   health.begin_check(now, jitter);                  // and start the check; the next one is due then
//   if (health.on_verdict({.healthy = false, .detail = "connect: Connection refused"})) publish();
//
// A backend of which nothing is known takes the first verdict at its word. After that `rise` successes or
// `fall` failures in a row are needed to change the state, and so they are for a backend whose state was
// inherited from the tables that are live: unknown is not down.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "controlplane/config/config.h"

namespace linimo {

enum class HealthState { kUnknown, kUp, kDown };
const char* health_name(HealthState state);

struct Verdict {
  bool healthy = false;
  std::string detail;  // of a failure: what went wrong, for people
};

/// Checks that ended since this process first checked the backend.
struct CheckCounts {
  uint64_t successes = 0;
  uint64_t failures = 0;
};

class BackendHealth {
 public:
  using Time = std::chrono::steady_clock::time_point;

  BackendHealth(const HealthCheckConfig& config, HealthState inherited, Time first_check)
      : config_(config), state_(inherited), next_check_(first_check) {}

  const HealthCheckConfig& config() const { return config_; }
  HealthState state() const { return state_; }
  bool checked() const { return checked_; }  // had a verdict of its own
  const std::string& detail() const { return detail_; }
  Time next_check() const { return next_check_; }

  /// A check starts now; the next is due an interval later. `jitter` from -1 to 1 moves that by up to a tenth
  /// of the interval, so that checks of many backends do not fall into step.
  void begin_check(Time now, double jitter);

  /// True when the state has changed.
  bool on_verdict(const Verdict& verdict);

  /// For a backend that no check has spoken of yet: what the live tables say.
  void inherit(HealthState state) {
    if (!checked_ && state_ == HealthState::kUnknown) state_ = state;
  }

 private:
  HealthCheckConfig config_;
  HealthState state_;
  Time next_check_;
  bool checked_ = false;
  uint32_t contrary_ = 0;  // verdicts in a row that speak against the state
  std::string detail_;
};

}  // namespace linimo
