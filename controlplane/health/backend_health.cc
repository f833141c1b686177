#include "controlplane/health/backend_health.h"

#include <algorithm>

#include <fmt/format.h>

namespace linimo {

const char* health_name(HealthState state) {
  switch (state) {
    case HealthState::kUp:
      return "up";
    case HealthState::kDown:
      return "down";
    case HealthState::kUnknown:
      break;
  }
  return "unknown";
}

std::string standing_note(const Standing& standing) {
  if (standing.drains) return "asks for no new flows";
  if (standing.held_back) return "held back: it came and went too often";
  if (standing.eighths != Standing::kFullWeight) return fmt::format("starts slowly: {}/8", standing.eighths);
  return {};
}

std::string standing_text(const Standing& standing) {
  const std::string note = standing_note(standing);
  return note.empty() ? health_name(standing.health)
                      : fmt::format("{} ({})", health_name(standing.health), note);
}

BackendHealth::BackendHealth(const HealthCheckConfig& config, const Standing& inherited, Time first_check)
    : config_(config),
      standing_(HealthState::kUnknown),
      check_start_(first_check),
      next_check_(first_check),
      phi_(config.interval),
      damper_(config.flap_half_life) {
  inherit(inherited, first_check);
}

bool BackendHealth::inherit(const Standing& standing, Time now) {
  if (checked_ || standing_.health != HealthState::kUnknown) return false;
  first_eighths_ = standing.eighths;
  if (standing.health == HealthState::kUnknown) return false;
  standing_.health = standing.health;
  if (standing.health == HealthState::kUp) start_from(standing.eighths, now);
  return true;
}

void BackendHealth::start_from(uint32_t eighths, Time now) {
  if (config_.slow_start.count() == 0) return;
  standing_.eighths = eighths;
  weighed_from_ = now - (eighths - 1) * step_of_slow_start();
}

std::string BackendHealth::detail() const {
  return detail_.empty() ? standing_note(standing_) : detail_;
}

void BackendHealth::begin_check(Time now, double jitter) {
  check_start_ = now;
  jitter_ = jitter;
}

void BackendHealth::await_check(std::chrono::milliseconds spacing) {
  const std::chrono::duration<double> pause = spacing * (1 + jitter_ / 10);
  next_check_ = check_start_ + std::chrono::duration_cast<Time::duration>(pause);
}

std::chrono::milliseconds BackendHealth::spacing() const {
  if (contrary_ != 0) return std::min(config_.fast_retry, config_.interval);
  return state() == HealthState::kDown ? config_.down_interval : config_.interval;
}

/// Whether a verdict against the state is enough to change it.
bool BackendHealth::contradicts(const Verdict& verdict, Time now) {
  if (state() == HealthState::kUnknown) return true;
  if (verdict.healthy) return contrary_ >= config_.rise;
  if (config_.detector == Detector::kCount || !last_success_) return contrary_ >= config_.fall;
  // However improbable the silence, it is not waited out longer than counting would have taken.
  const std::chrono::duration<double> longest = config_.interval * 1.1 * config_.fall;
  return phi_.phi(now) >= config_.phi_threshold || now - *last_success_ >= longest;
}

bool BackendHealth::on_verdict(const Verdict& verdict, Time now) {
  if (verdict.says_nothing) {
    detail_ = verdict.detail;
    // More checks would not give the checker what it lacks.
    await_check(verdict.checker_lacks ? spacing() : std::min(config_.fast_retry, config_.interval));
    return false;
  }
  const Standing before = standing_;
  const bool first = state() == HealthState::kUnknown;
  checked_ = true;
  if (verdict.healthy == (state() == HealthState::kUp) && !first) {
    contrary_ = 0;
  } else if (++contrary_; contradicts(verdict, now)) {
    contrary_ = 0;
    verdict.healthy ? come_up(first, now) : go_down(first, now);
  }
  if (verdict.healthy && state() == HealthState::kUp) {
    detail_.clear();
    standing_.drains = verdict.drains;
    last_success_ = now;
    phi_.on_success(now);
  }
  if (!verdict.healthy) detail_ = verdict.detail;
  await_check(spacing());
  return standing_ != before;
}

void BackendHealth::pause(Time::duration gap) {
  check_start_ += gap;
  next_check_ += gap;
  if (last_success_) *last_success_ += gap;
  phi_.pause(gap);
}

void BackendHealth::come_up(bool for_the_first_time, Time now) {
  standing_ = HealthState::kUp;
  if (for_the_first_time) return start_from(first_eighths_, now);
  released_at_ = damper_.release_time(now);
  standing_.held_back = released_at_ > now;
  weighed_from_ = released_at_;
  if (config_.slow_start.count() != 0) standing_.eighths = 1;
}

void BackendHealth::go_down(bool for_the_first_time, Time now) {
  standing_ = HealthState::kDown;
  phi_.forget_last();
  last_success_.reset();
  if (!for_the_first_time) damper_.on_down(now);
}

// From one eighth at once to all of them after slow_start: seven steps between.
BackendHealth::Time::duration BackendHealth::step_of_slow_start() const {
  return Time::duration(config_.slow_start) / (Standing::kFullWeight - 1);
}

std::optional<BackendHealth::Time> BackendHealth::next_step() const {
  if (state() != HealthState::kUp) return std::nullopt;
  if (standing_.held_back) return released_at_;
  if (standing_.eighths == Standing::kFullWeight) return std::nullopt;
  return weighed_from_ + standing_.eighths * step_of_slow_start();
}

bool BackendHealth::advance(Time now) {
  const Standing before = standing_;
  while (next_step() && *next_step() <= now) {
    standing_.held_back ? void(standing_.held_back = false) : void(++standing_.eighths);
  }
  return standing_ != before;
}

}  // namespace linimo
