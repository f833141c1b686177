// Reading TOML so that every mistake is reported with file, line, column and what was expected.
//
//   const TomlValue document = read_toml(file);                    // throws ConfigError
//   const TomlTable root = document.table({"node", "pool"});       // any other key is refused
//   const TomlTable node = root.require("node", "a [node] section").table({"name", "workers"});
//   std::string name = node.require("name", "the node's name").string("the node's name");
//   int64_t workers = node.integer_or("workers", 1, 1, 64);
//
// The parser's own headers stay in the .cc file: they are among the slowest to compile that there are.
// Within the readers a mistake is an exception. It ends the reading of the smallest part that makes sense
// without it (a key, a backend) and is noted there by `attempt`; so all mistakes of a document are found. A
// reader may thus return what lacks something: whoever loads the whole asks `mistakes` before using it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace linimo {

/// what() is "FILE:LINE:COLUMN: problem; expected ...".
class ConfigError : public std::runtime_error {
 public:
  ConfigError(const std::string& text, uint32_t line, uint32_t column)
      : std::runtime_error(text), line(line), column(column) {}

  uint32_t line;
  uint32_t column;
};

/// A document that is being read, and the mistakes that were found in it.
struct TomlFile {
  std::string name;
  std::vector<ConfigError> mistakes;
};

struct TomlPlace {
  std::shared_ptr<TomlFile> file;
  uint32_t line = 1;  // from 1, as editors count
  uint32_t column = 1;

  std::string to_string() const;
  [[noreturn]] void fail(std::string_view problem, std::string_view expected) const;

  /// Notes a mistake; throws it when there are so many that more would help nobody.
  void note(const ConfigError& mistake) const;
  /// Calls `read`, and notes the mistake by which it ends. False if there was one.
  template <typename Read>
  bool attempt(Read read) const {
    try {
      read();
      return true;
    } catch (const ConfigError& mistake) {
      note(mistake);
      return false;
    }
  }
  /// All that were noted, in the order of their places.
  std::vector<ConfigError> mistakes() const;
  /// Throws the first one of them, if there is any; what() says how many more there are.
  void throw_mistakes() const;
};

class TomlTable;

/// A value and where it stands. Copyable, holds no reference to the parser.
class TomlValue {
 public:
  struct Member;
  using Array = std::vector<TomlValue>;
  using Members = std::vector<Member>;  // in the order of the keys' names
  struct OtherType {};                  // dates, times
  using Content = std::variant<OtherType, std::string, int64_t, double, bool, Array, Members>;

  TomlValue(TomlPlace place, Content content);

  const TomlPlace& place() const { return place_; }
  bool is_string() const { return std::holds_alternative<std::string>(content_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(content_); }

  /// Each throws a ConfigError when the value is of another type or out of range; `expected` completes
  /// "expected ..." in its words.
  const std::string& string(std::string_view expected) const;
  int64_t integer(int64_t least, int64_t most) const;
  bool boolean() const;
  const Array& array(std::string_view expected) const;
  /// Calls read(entry) with each of an array; attempts, as TomlPlace does. True if all were read.
  template <typename Read>
  bool each(std::string_view expected, Read read) const {
    bool all = true;
    for (const TomlValue& entry : array(expected)) all &= entry.place().attempt([&] { read(entry); });
    return all;
  }
  TomlTable table(std::initializer_list<std::string_view> known_keys) const;
  TomlTable table_with_any_keys() const;

  /// A string of 1 to `longest` letters, digits, '_', '.' and '-': what may name a thing in every output.
  const std::string& name(size_t longest) const;

  /// A string out of a fixed list: its index in it.
  size_t one_of(std::span<const std::string_view> choices) const;
  size_t one_of(std::initializer_list<std::string_view> choices) const {
    return one_of(std::span(choices.begin(), choices.size()));
  }

  [[noreturn]] void fail(std::string_view problem, std::string_view expected) const {
    place_.fail(problem, expected);
  }

 private:
  [[noreturn]] void wrong_type(std::string_view expected) const;

  TomlPlace place_;
  Content content_;
};

struct TomlValue::Member {
  std::string key;
  TomlPlace place;  // of the key
  TomlValue value;
};

// Here, where a Member is complete.
inline TomlValue::TomlValue(TomlPlace place, Content content)
    : place_(std::move(place)), content_(std::move(content)) {}

/// A table all of whose keys are known ones. Refers into the TomlValue it came from.
class TomlTable {
 public:
  TomlTable(const TomlPlace& place, const TomlValue::Members& members) : place_(&place), members_(&members) {}

  const TomlPlace& place() const { return *place_; }
  const TomlValue* find(std::string_view key) const;
  const TomlValue& require(std::string_view key, std::string_view expected) const;

  /// Calls read(value) if the key is there; attempts, as TomlPlace does. True if it was read.
  template <typename Read>
  bool with(std::string_view key, Read read) const {
    const TomlValue* value = find(key);
    return value != nullptr && place_->attempt([&] { read(*value); });
  }
  /// The same of a key that must be there.
  template <typename Read>
  bool with_required(std::string_view key, std::string_view expected, Read read) const {
    return place_->attempt([&] { read(require(key, expected)); });
  }
  /// The fallback also where the value is a mistake, which is noted.
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t least, int64_t most) const;

 private:
  const TomlPlace* place_;
  const TomlValue::Members* members_;
};

/// Parses a file of at most 16 MiB. `name` stands for the file in messages.
TomlValue read_toml(const std::filesystem::path& file);
/// The file's text alone; what cannot be read is refused in the same words.
std::string read_toml_text(const std::filesystem::path& file);
TomlValue parse_toml(std::string_view text, std::string_view name);

/// Printable, and short enough for a line of a log: what was typed may be anything.
std::string shown(std::string_view text, size_t longest = 80);

/// The candidate that a typing mistake most likely meant; empty when none is near.
std::string_view nearest_word(std::string_view word, std::initializer_list<std::string_view> candidates);

}  // namespace linimo
