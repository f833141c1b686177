// The one file that includes the TOML parser: text in, TomlValue out.
#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "maglev/config/toml_limits.h"
#include "maglev/config/toml_reader.h"

namespace linimo {
namespace {

constexpr size_t kMaxFileSize = 16 << 20;

using FilePtr = std::shared_ptr<TomlFile>;

TomlPlace place_of(const FilePtr& file, const toml::source_region& region) {
  // Tables that exist only because another's name contains theirs have no place of their own.
  return {file, std::max<uint32_t>(region.begin.line, 1), std::max<uint32_t>(region.begin.column, 1)};
}

TomlValue convert(const FilePtr& file, const toml::node& node) {
  const TomlPlace place = place_of(file, node.source());
  if (const auto* table = node.as_table()) {
    TomlValue::Members members;
    members.reserve(table->size());
    for (const auto& [key, value] : *table) {
      members.push_back({std::string(key.str()), place_of(file, key.source()), convert(file, value)});
    }
    return {place, std::move(members)};
  }
  if (const auto* array = node.as_array()) {
    TomlValue::Array values;
    values.reserve(array->size());
    for (const toml::node& value : *array) values.push_back(convert(file, value));
    return {place, std::move(values)};
  }
  if (const auto* text = node.as_string()) return {place, text->get()};
  if (const auto* number = node.as_integer()) return {place, number->get()};
  if (const auto* number = node.as_floating_point()) return {place, number->get()};
  if (const auto* truth = node.as_boolean()) return {place, truth->get()};
  return {place, TomlValue::OtherType{}};
}

}  // namespace

TomlValue parse_toml(std::string_view text, std::string_view name) {
  const auto file = std::make_shared<TomlFile>(TomlFile{std::string(name), {}});
  check_toml_limits(text, name);
  try {
    return convert(file, toml::parse(text, name));
  } catch (const toml::parse_error& error) {
    // It may quote a key of any length.
    place_of(file, error.source()).fail(shown(error.description(), 200), "valid TOML (https://toml.io)");
  }
}

std::string read_toml_text(const std::filesystem::path& file) {
  const auto refuse = [&](std::string_view problem) {
    TomlPlace{std::make_shared<TomlFile>(TomlFile{file.string(), {}})}.fail(problem, "a readable TOML file");
  };
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    refuse(error ? "cannot be read: " + error.message() : "not a regular file");
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) refuse(fmt::format("cannot be read: {}", std::strerror(errno)));
  // What is read counts: a file may grow meanwhile, and some say that their size is 0.
  std::string text;
  for (char chunk[65536]; stream.read(chunk, sizeof chunk), stream.gcount() > 0;) {
    text.append(chunk, static_cast<size_t>(stream.gcount()));
    if (text.size() > kMaxFileSize) refuse("larger than 16 MiB");
  }
  if (stream.bad()) refuse(fmt::format("cannot be read: {}", std::strerror(errno)));
  return text;
}

TomlValue read_toml(const std::filesystem::path& file) {
  return parse_toml(read_toml_text(file), file.string());
}

}  // namespace linimo
