// What all programs have in common on their command lines.
#pragma once

namespace linimo {

/// Exit codes; 0: done, or asked to end.
inline constexpr int kFailed = 1;  // not done, or could not go on: standard error says why
inline constexpr int kUsage = 2;   // nothing was touched

inline constexpr const char* kConfigFile = "/etc/linimo/linimo.toml";
inline constexpr const char* kConfigFileText = "the configuration file";

}  // namespace linimo
