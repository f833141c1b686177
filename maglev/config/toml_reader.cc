#include "maglev/config/toml_reader.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace linimo {
namespace {

constexpr size_t kMaxMistakes = 100;

std::string quoted_list(std::span<const std::string_view> words) {
  std::string list;
  for (const std::string_view word : words) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", word);
  return list;
}

// Insertions, deletions and replacements that turn one word into the other (Levenshtein).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string_view type_name(const TomlValue::Content& content) {
  static constexpr std::string_view kNames[] = {"a date or time", "a string", "an integer", "a fraction",
                                                "a boolean",      "an array", "a table"};
  static_assert(std::size(kNames) == std::variant_size_v<TomlValue::Content>);
  return kNames[content.index()];
}

}  // namespace

std::string shown(std::string_view text, size_t longest) {
  std::string result;
  for (const char c : text.substr(0, longest)) result += c >= ' ' && c != 0x7f ? c : '?';
  return result + (text.size() > longest ? "..." : "");
}

std::string TomlPlace::to_string() const {
  return fmt::format("{}:{}:{}", file ? file->name : "", line, column);
}

void TomlPlace::fail(std::string_view problem, std::string_view expected) const {
  throw ConfigError(fmt::format("{}: {}; expected {}", to_string(), problem, expected), line, column);
}

void TomlPlace::note(const ConfigError& mistake) const {
  if (!file || file->mistakes.size() >= kMaxMistakes) throw mistake;
  file->mistakes.push_back(mistake);
}

std::vector<ConfigError> TomlPlace::mistakes() const {
  std::vector<ConfigError> sorted = file->mistakes;
  std::stable_sort(sorted.begin(), sorted.end(), [](const ConfigError& a, const ConfigError& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  return sorted;
}

void TomlPlace::throw_mistakes() const {
  const std::vector<ConfigError> all = mistakes();
  if (all.empty()) return;
  if (all.size() == 1) throw all.front();
  constexpr size_t kNamed = 3;  // one mistake often shows as two, and the second says which it was
  std::string text;
  for (size_t i = 0; i < std::min(kNamed, all.size()); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : "; ", all[i].what());
  if (all.size() > kNamed) {
    text +=
        fmt::format(" (and {} more: `linimo config check {}` shows all)", all.size() - kNamed, file->name);
  }
  throw ConfigError(text, all.front().line, all.front().column);
}

std::string_view nearest_word(std::string_view word, std::initializer_list<std::string_view> candidates) {
  if (word.size() > 64) return {};
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

void TomlValue::wrong_type(std::string_view expected) const {
  fail(fmt::format("this is {}", type_name(content_)), expected);
}

const std::string& TomlValue::string(std::string_view expected) const {
  const auto* text = std::get_if<std::string>(&content_);
  if (text == nullptr) wrong_type(fmt::format("{}, a string", expected));
  return *text;
}

int64_t TomlValue::integer(int64_t least, int64_t most) const {
  const std::string expected = fmt::format("an integer from {} to {}", least, most);
  const auto* number = std::get_if<int64_t>(&content_);
  if (number == nullptr) wrong_type(expected);
  if (*number < least || *number > most) fail(fmt::format("{} is out of range", *number), expected);
  return *number;
}

bool TomlValue::boolean() const {
  const auto* truth = std::get_if<bool>(&content_);
  if (truth == nullptr) wrong_type("true or false");
  return *truth;
}

const TomlValue::Array& TomlValue::array(std::string_view expected) const {
  const auto* values = std::get_if<Array>(&content_);
  if (values == nullptr) wrong_type(expected);
  return *values;
}

TomlTable TomlValue::table(std::initializer_list<std::string_view> known_keys) const {
  const auto* members = std::get_if<Members>(&content_);
  if (members == nullptr)
    wrong_type(fmt::format("a table with {}", quoted_list(std::span(known_keys.begin(), known_keys.size()))));
  for (const Member& member : *members) {
    if (std::find(known_keys.begin(), known_keys.end(), member.key) != known_keys.end()) continue;
    place_.attempt([&] {
      const std::string_view nearest = nearest_word(member.key, known_keys);
      member.place.fail(
          fmt::format("unknown key \"{}\"", shown(member.key)),
          nearest.empty()
              ? fmt::format("one of {}", quoted_list(std::span(known_keys.begin(), known_keys.size())))
              : fmt::format("\"{}\", perhaps", nearest));
    });
  }
  return {place_, *members};
}

TomlTable TomlValue::table_with_any_keys() const {
  const auto* members = std::get_if<Members>(&content_);
  if (members == nullptr) wrong_type("a table");
  return {place_, *members};
}

const std::string& TomlValue::name(size_t longest) const {
  const std::string expected = fmt::format("a name of 1 to {} letters, digits, '_', '.' or '-'", longest);
  const std::string& text = string(expected);
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  };
  if (text.empty() || text.size() > longest || !std::all_of(text.begin(), text.end(), allowed)) {
    fail(fmt::format("\"{}\" is not a valid name", shown(text)), expected);
  }
  return text;
}

size_t TomlValue::one_of(std::span<const std::string_view> choices) const {
  const std::string expected = fmt::format("one of {}", quoted_list(choices));
  const std::string& text = string(expected);
  const auto found = std::find(choices.begin(), choices.end(), text);
  if (found == choices.end()) fail(fmt::format("\"{}\" is not known here", shown(text)), expected);
  return static_cast<size_t>(found - choices.begin());
}

const TomlValue* TomlTable::find(std::string_view key) const {
  for (const TomlValue::Member& member : *members_) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

const TomlValue& TomlTable::require(std::string_view key, std::string_view expected) const {
  const TomlValue* value = find(key);
  if (value == nullptr) place_->fail(fmt::format("\"{}\" is missing", key), expected);
  return *value;
}

int64_t TomlTable::integer_or(std::string_view key, int64_t fallback, int64_t least, int64_t most) const {
  with(key, [&](const TomlValue& value) { fallback = value.integer(least, most); });
  return fallback;
}

}  // namespace linimo
