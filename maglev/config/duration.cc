#include "maglev/config/duration.h"

#include <charconv>
#include <iterator>
#include <optional>

#include <fmt/format.h>

namespace linimo {
namespace {

using std::chrono::milliseconds;

struct Unit {
  std::string_view name;
  milliseconds length;
};
constexpr Unit kUnits[] = {{"ms", milliseconds(1)},
                           {"s", milliseconds(1000)},
                           {"m", milliseconds(60'000)},
                           {"h", milliseconds(3'600'000)}};

std::optional<milliseconds> parse_duration(std::string_view text) {
  uint32_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view unit_name(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const Unit& unit : kUnits) {
    if (unit.name == unit_name) return count * unit.length;
  }
  return std::nullopt;
}

}  // namespace

std::string duration_text(milliseconds duration) {
  for (const Unit* unit = std::end(kUnits) - 1; unit != kUnits; --unit) {
    if (duration % unit->length == milliseconds(0))
      return fmt::format("{}{}", duration / unit->length, unit->name);
  }
  return fmt::format("{}ms", duration.count());
}

milliseconds read_duration(const TomlValue& value, milliseconds least, milliseconds most) {
  const std::string expected = fmt::format("a duration from {} to {}, such as \"200ms\", \"2s\" or \"15m\"",
                                           duration_text(least), duration_text(most));
  const auto duration = parse_duration(value.string(expected));
  if (!duration) value.fail("not a duration", expected);
  if (*duration < least || *duration > most) value.fail("duration out of range", expected);
  return *duration;
}

}  // namespace linimo
