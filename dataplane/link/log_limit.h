// Keeps what others can cause without end from filling the log.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace linimo {

/// Of one kind of line: one a second passes, the others are counted. Not for several threads at a time.
class LogLimit {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kPeriod{1};

  /// How many were kept out before this one; nothing: so is this one.
  std::optional<uint64_t> pass(Clock::time_point now) {
    if (last_ && now - *last_ < kPeriod) {
      ++kept_out_;
      return std::nullopt;
    }
    last_ = now;
    return std::exchange(kept_out_, 0);
  }

  /// How many were kept out and none has passed since, if the period is over: else they would never be told.
  uint64_t overdue(Clock::time_point now) {
    return last_ && now - *last_ >= kPeriod ? std::exchange(kept_out_, 0) : 0;
  }

 private:
  std::optional<Clock::time_point> last_;
  uint64_t kept_out_ = 0;
};

}  // namespace linimo
