#include "maglev/config/toml_limits.h"

#include <algorithm>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "maglev/config/toml_reader.h"

namespace linimo {
namespace {

/// The offset behind the string that begins at `begin`, or the text's end. A string of one line ends with its
/// line, closed or not; one of several lines may have two more quotes before those that close it.
size_t end_of_string(std::string_view text, size_t begin) {
  const char quote = text[begin];
  const bool escapes = quote == '"';
  const std::string_view three = escapes ? R"(""")" : "'''";
  const bool lines = text.substr(begin).starts_with(three);
  for (size_t at = begin + (lines ? 3 : 1); at < text.size(); ++at) {
    if (escapes && text[at] == '\\') {
      ++at;
    } else if (!lines && (text[at] == quote || text[at] == '\n')) {
      return at + 1;
    } else if (lines && text.substr(at).starts_with(three)) {
      for (at += 3; at < text.size() && text[at] == quote;) ++at;
      return at;
    }
  }
  return text.size();
}

[[noreturn]] void fail(std::string_view text, size_t at, std::string_view name, std::string_view problem,
                       const std::string& expected) {
  const std::string_view before = text.substr(0, at);
  const std::string_view line = before.substr(before.rfind('\n') + 1);  // npos + 1 is 0
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const auto characters = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
  const TomlPlace place{std::make_shared<TomlFile>(TomlFile{std::string(name), {}}),
                        static_cast<uint32_t>(lines + 1), static_cast<uint32_t>(characters + 1)};
  place.fail(problem, expected);
}

}  // namespace

void check_toml_limits(std::string_view text, std::string_view name) {
  unsigned nesting = 0;
  unsigned parts = 1;  // of the key that may be going on; a number has two at most
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      at = end_of_string(text, at);
      if (text[at - 1] == '\n') parts = 1;
      continue;
    }
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    if (c == '.' && ++parts > kMaxTomlKeyParts)
      fail(text, at, name, "a key of too many parts", fmt::format("at most {}", kMaxTomlKeyParts));
    if ((c == '[' || c == '{') && ++nesting > kMaxTomlNesting)
      fail(text, at, name, "values nested too deep", fmt::format("at most {} levels", kMaxTomlNesting));
    if ((c == ']' || c == '}') && nesting > 0) --nesting;
    if (c == '\n' || c == '=' || c == ',' || c == '[' || c == '{') parts = 1;
    ++at;
  }
}

}  // namespace linimo
