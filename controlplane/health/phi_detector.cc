#include "controlplane/health/phi_detector.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace linimo {
namespace {

double seconds_of(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

PhiDetector::PhiDetector(std::chrono::milliseconds interval, std::chrono::milliseconds least_deviation)
    : least_deviation_(seconds_of(least_deviation)) {
  learn(seconds_of(interval) * 0.9);
  learn(seconds_of(interval) * 1.1);
}

void PhiDetector::learn(double seconds) {
  if (intervals_.size() < kWindow) {
    intervals_.push_back(seconds);
  } else {
    const double gone = std::exchange(intervals_[oldest_], seconds);
    oldest_ = (oldest_ + 1) % kWindow;
    sum_ -= gone;
    sum_of_squares_ -= gone * gone;
  }
  sum_ += seconds;
  sum_of_squares_ += seconds * seconds;
}

void PhiDetector::on_success(Time now) {
  if (last_) learn(seconds_of(now - *last_));
  last_ = now;
}

double PhiDetector::phi(Time now) const {
  if (!last_) return 0;
  const auto count = static_cast<double>(intervals_.size());
  const double mean = sum_ / count;
  const double deviation =
      std::max(least_deviation_, std::sqrt(std::max(0.0, sum_of_squares_ / count - mean * mean)));
  // The tail of the normal distribution beyond this silence. It underflows at about 38 deviations, where any
  // threshold was passed long ago.
  const double tail = 0.5 * std::erfc((seconds_of(now - *last_) - mean) / deviation / std::sqrt(2.0));
  return tail > 0 ? -std::log10(tail) : 1000;
}

}  // namespace linimo
