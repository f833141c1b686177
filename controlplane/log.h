// Structured lines on standard error: what happened, then key=value pairs that a machine can take apart.
//
//   log_info("backend state changed", {{"pool", "web"}, {"backend", "10.0.1.1"}, {"to", "down"}});
//   2026-01-31T12:00:00.123+0000 level=info msg="backend state changed" pool=web backend=10.0.1.1 to=down
//
// Values are quoted where they need it, so that nothing a peer sends can look like a line of its own. Any
// thread.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace linimo {

struct LogField {
  LogField(std::string_view field, std::string_view text) : key(field), value(text) {}
  LogField(std::string_view field, const char* text) : key(field), value(text) {}
  LogField(std::string_view field, const std::string& text) : key(field), value(text) {}
  LogField(std::string_view field, std::integral auto number) : key(field), value(std::to_string(number)) {}

  std::string_view key;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

/// One of kLogLevels (maglev/log_format.h).
void set_log_level(std::string_view level);

void log_debug(std::string_view what, LogFields fields = {});
void log_info(std::string_view what, LogFields fields = {});
void log_warning(std::string_view what, LogFields fields = {});
void log_error(std::string_view what, LogFields fields = {});

/// A line's text without time and level. Exposed for tests.
std::string log_line(std::string_view what, LogFields fields);

}  // namespace linimo
