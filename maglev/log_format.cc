#include "maglev/log_format.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>

namespace linimo {
namespace {

/// spdlog's own names differ from ours: "warning".
class LevelFlag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& line) override {
    const auto level = std::min<size_t>(message.level, std::size(kLogLevels) - 1);
    line.append(std::string_view(kLogLevels[level]));
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<LevelFlag>(); }
};

class SentenceFlag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& line) override {
    std::string value;
    append_log_value(value, std::string_view(message.payload.data(), message.payload.size()));
    line.append(value);
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<SentenceFlag>(); }
};

}  // namespace

spdlog::level::level_enum log_level(std::string_view name) {
  const auto* found = std::find(std::begin(kLogLevels), std::end(kLogLevels), name);
  return static_cast<spdlog::level::level_enum>(found - std::begin(kLogLevels));
}

void append_log_value(std::string& line, std::string_view value) {
  const auto plain = [](char c) { return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '='; };
  if (!value.empty() && std::all_of(value.begin(), value.end(), plain)) {
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

std::unique_ptr<spdlog::formatter> make_log_formatter(LogText text) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelFlag>('q').add_flag<SentenceFlag>('Q').set_pattern(
      text == LogText::kFields ? "%Y-%m-%dT%H:%M:%S.%e%z level=%q %v"
                               : "%Y-%m-%dT%H:%M:%S.%e%z level=%q msg=%Q");
  return formatter;
}

}  // namespace linimo
