// How many replies of one kind a worker may still send: a token bucket that holds one second's worth.
#pragma once

#include <algorithm>
#include <cstdint>

namespace linimo {

class ReplyLimit {
 public:
  /// Takes a token. `rate`: a second; 0: no limit. `now_ms`: of a clock that never goes back.
  bool allows(uint32_t rate, uint64_t now_ms) {
    if (rate == 0) return true;
    const uint64_t refilled = std::min<uint64_t>(now_ms - last_ms_, 1000) * rate;
    spent_ -= std::min(spent_, refilled);
    last_ms_ = now_ms;
    if (spent_ + kToken > rate * kToken) return false;
    spent_ += kToken;
    return true;
  }

 private:
  static constexpr uint64_t kToken = 1000;  // so that a millisecond refills `rate` whole parts

  uint64_t spent_ = 0;
  uint64_t last_ms_ = 0;
};

}  // namespace linimo
