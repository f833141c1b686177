// --dry-run: what a change would do to flows, before it is made.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace linimo {

inline constexpr const char* kDryRunHelp = "say what it would do to flows, and change nothing";

/// Asks and prints; the exit code.
int show_dry_run(const std::string& socket, const nlohmann::json& change, bool as_json);
/// Of the configuration in a file.
int show_dry_run_of_file(const std::string& socket, const std::string& file, bool as_json);

}  // namespace linimo
