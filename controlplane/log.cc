#include "controlplane/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace linimo {
namespace {

spdlog::logger& logger() {
  static const auto instance = [] {
    auto made = spdlog::stderr_logger_mt("linimo");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z level=%l %v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

void append_value(std::string& line, std::string_view value) {
  const auto plain = [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '='; };
  bool quote = value.empty();
  for (const char c : value) quote |= !plain(c);
  if (!quote) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  line += '"';
}

void write(spdlog::level::level_enum level, std::string_view what, LogFields fields) {
  if (logger().should_log(level)) logger().log(level, log_line(what, fields));
}

}  // namespace

std::string log_line(std::string_view what, LogFields fields) {
  std::string line = "msg=";
  append_value(line, what);
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  return line;
}

bool set_log_level(std::string_view level) {
  for (const auto known :
       {spdlog::level::debug, spdlog::level::info, spdlog::level::warn, spdlog::level::err}) {
    const auto name = spdlog::level::to_string_view(known);
    if (std::string_view(name.data(), name.size()) != level) continue;
    logger().set_level(known);
    return true;
  }
  return false;
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
