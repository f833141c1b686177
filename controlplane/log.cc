#include "controlplane/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "maglev/log_format.h"

namespace linimo {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_logger_mt("linimo");
    made->set_formatter(make_log_formatter(LogText::kFields));
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

void write(spdlog::level::level_enum level, std::string_view what, LogFields fields) {
  if (logger().should_log(level)) logger().log(level, log_line(what, fields));
}

}  // namespace

std::string log_line(std::string_view what, LogFields fields) {
  std::string line = "msg=";
  append_log_value(line, what);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_log_value(line, field.value);
  }
  return line;
}

void set_log_level(std::string_view level) {
  logger().set_level(log_level(level));
}

void log_debug(std::string_view what, LogFields fields) {
  write(spdlog::level::debug, what, fields);
}
void log_info(std::string_view what, LogFields fields) {
  write(spdlog::level::info, what, fields);
}
void log_warning(std::string_view what, LogFields fields) {
  write(spdlog::level::warn, what, fields);
}
void log_error(std::string_view what, LogFields fields) {
  write(spdlog::level::err, what, fields);
}

}  // namespace linimo
