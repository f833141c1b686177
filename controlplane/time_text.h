// Moments as people and JSON have them: UTC, RFC 3339.
#pragma once

#include <chrono>
#include <string>

#include <fmt/chrono.h>

namespace linimo {

/// To the second.
inline std::string now_text() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

}  // namespace linimo
