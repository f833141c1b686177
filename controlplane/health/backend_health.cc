#include "controlplane/health/backend_health.h"

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

void BackendHealth::begin_check(Time now, double jitter) {
  const std::chrono::duration<double> interval = config_.interval;
  // From start to start, not from end to start: what a failing backend costs in time must not depend on
  // how slowly it fails.
  next_check_ = now + std::chrono::duration_cast<Time::duration>(interval * (1 + jitter / 10));
}

bool BackendHealth::on_verdict(const Verdict& verdict) {
  checked_ = true;
  const HealthState said = verdict.healthy ? HealthState::kUp : HealthState::kDown;
  if (!verdict.healthy) detail_ = verdict.detail;
  if (said == state_) {
    contrary_ = 0;
    if (verdict.healthy) detail_.clear();
    return false;
  }
  const uint32_t needed = state_ == HealthState::kUnknown ? 1 : verdict.healthy ? config_.rise : config_.fall;
  if (++contrary_ < needed) return false;
  contrary_ = 0;
  state_ = said;
  if (verdict.healthy) detail_.clear();
  return true;
}

}  // namespace linimo
