// The XDP program's clock: bpf_ktime_get_coarse_ns() in ticks of 2^30 ns, a little longer than a second, so
// that it need not divide.
#pragma once

#include <cstdint>
#include <ctime>

#include "maglev/rules/clock.h"

namespace linimo::xdp {

constexpr uint64_t kNsOfTick = uint64_t{1} << LINIMO_TICK_SHIFT;

inline uint64_t coarse_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// Wraps.
inline uint32_t ticks_now() {
  return static_cast<uint32_t>(coarse_ns() >> LINIMO_TICK_SHIFT);
}

/// Whole ticks in so many seconds.
constexpr uint32_t ticks_within(uint32_t seconds) {
  return LINIMO_TICKS_WITHIN(seconds);
}

/// Ticks that last at least so many seconds.
constexpr uint32_t ticks_for(uint32_t seconds) {
  return LINIMO_TICKS_FOR(seconds);
}

}  // namespace linimo::xdp
