// Keeps a backend that comes and goes away from new flows for a while, as RFC 2439 does with routes: each
// death adds 1 to a penalty that halves in every half-life. A backend whose penalty is above 2.5 when it
// comes back is held back until it has fallen to 1, which takes at most two half-lives.
#pragma once

#include <chrono>

namespace linimo {

class FlapDamper {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// A half-life of zero: nothing is ever held back.
  explicit FlapDamper(std::chrono::milliseconds half_life) : half_life_(half_life) {}

  void on_down(Time now);

  /// For a backend that comes back: until when it is held back; `now` if it is not.
  Time release_time(Time now) const;

  double penalty(Time now) const;

 private:
  std::chrono::milliseconds half_life_;
  double penalty_ = 0;  // at the time of the last death
  Time last_{};
};

}  // namespace linimo
