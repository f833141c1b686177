// How improbable a silence is, in the manner of Hayashibara et al., "The phi accrual failure detector"
// (2004): phi = -log10(probability that a backend which is well stays silent that long), computed from the
// intervals between its latest successes. phi 8 errs once in a hundred million times, if the past tells the
// future.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

namespace linimo {

class PhiDetector {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Until there are successes to learn from, they are taken to come once in `interval`. However even they
  /// were of late, none is surprising within `least_deviation` of the mean; checks have a tenth of jitter.
  explicit PhiDetector(std::chrono::milliseconds interval) : PhiDetector(interval, interval / 10) {}
  PhiDetector(std::chrono::milliseconds interval, std::chrono::milliseconds least_deviation);

  void on_success(Time now);
  /// The silence that follows is known to be one: it must not be learned from.
  void forget_last() { last_.reset(); }
  /// Nobody listened for so long: that is no part of the present silence.
  void pause(Time::duration gap) {
    if (last_) *last_ += gap;
  }
  /// 0 when there was no success.
  double phi(Time now) const;

 private:
  void learn(double seconds);

  static constexpr size_t kWindow = 100;
  double least_deviation_;         // seconds
  std::vector<double> intervals_;  // seconds; a ring once it is full
  size_t oldest_ = 0;
  double sum_ = 0;
  double sum_of_squares_ = 0;
  std::optional<Time> last_;
};

}  // namespace linimo
