// How a line of either process's log looks, and what its levels are called:
//
//   2026-01-31T12:00:00.123+0000 level=warn msg="no data plane" key=value
//
// Only what begins a line is here, and how a value is quoted: so nothing that a peer sends can look like a
// line of its own.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <spdlog/common.h>
#include <spdlog/formatter.h>

namespace linimo {

inline constexpr const char* kLogLevels[] = {"trace", "debug", "info", "warn", "error"};
inline constexpr const char* kLogLevelsText = "trace, debug, info, warn or error";

/// `name`: of kLogLevels.
spdlog::level::level_enum log_level(std::string_view name);

/// Appends a value as it stands behind a '=': in quotes where it needs them.
void append_log_value(std::string& line, std::string_view value);

/// `kFields`: the text is "msg=... key=value ..." already; `kSentence`: it becomes a msg.
enum class LogText { kFields, kSentence };
std::unique_ptr<spdlog::formatter> make_log_formatter(LogText text);

}  // namespace linimo
