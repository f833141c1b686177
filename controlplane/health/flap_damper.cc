#include "controlplane/health/flap_damper.h"

#include <algorithm>
#include <cmath>

namespace linimo {
namespace {

constexpr double kHoldBackAbove = 2.5;
constexpr double kReleaseAt = 1;
constexpr double kMost = 4;

}  // namespace

double FlapDamper::penalty(Time now) const {
  if (half_life_.count() == 0) return 0;
  const std::chrono::duration<double, std::milli> passed = now - last_;
  return penalty_ * std::exp2(-passed.count() / static_cast<double>(half_life_.count()));
}

void FlapDamper::on_down(Time now) {
  penalty_ = std::min(kMost, penalty(now) + 1);
  last_ = now;
}

FlapDamper::Time FlapDamper::release_time(Time now) const {
  const double present = penalty(now);
  if (present <= kHoldBackAbove) return now;
  const std::chrono::duration<double> half_life = half_life_;
  return now + std::chrono::duration_cast<Time::duration>(half_life * std::log2(present / kReleaseAt));
}

}  // namespace linimo
