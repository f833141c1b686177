#include "maglev/config/announce.h"

#include <fmt/format.h>

#include "maglev/config/duration.h"
#include "maglev/config/toml_reader.h"

namespace linimo {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr int64_t kMaxMetric = 1'000'000;
constexpr size_t kMaxSocketPath = 107;  // what a Unix socket's address holds

uint32_t read_table(const TomlValue& value) {
  // 253 to 255 are the kernel's default, main and local.
  const int64_t table = value.integer(1, UINT32_MAX);
  if (table >= 253 && table <= 255)
    value.fail("a table that the kernel itself routes by", "another one, such as 77");
  return static_cast<uint32_t>(table);
}

std::filesystem::path read_socket(const TomlValue& value) {
  constexpr std::string_view kExpected = "the absolute path of BIRD's control socket";
  const std::string& path = value.string(kExpected);
  if (!path.starts_with('/') || path.size() > kMaxSocketPath || path.find('\0') != std::string::npos)
    value.fail("not the path of a socket", kExpected);
  return path;
}

void read_metrics(const TomlTable& table, AnnounceConfig& announce) {
  announce.metric = static_cast<uint32_t>(table.integer_or("metric", announce.metric, 1, kMaxMetric));
  announce.drain_metric =
      static_cast<uint32_t>(table.integer_or("drain_metric", announce.drain_metric, 1, kMaxMetric));
  if (announce.drain_metric > announce.metric) return;
  const TomlValue* drain = table.find("drain_metric");
  const TomlValue* wrong = drain != nullptr ? drain : table.find("metric");
  table.place().attempt([&] {
    (wrong != nullptr ? wrong->place() : table.place())
        .fail(fmt::format("drain_metric {} is not above metric {}", announce.drain_metric, announce.metric),
              "routes that rank behind while the node drains");
  });
}

}  // namespace

std::optional<AnnounceConfig> read_announce_section(const TomlTable& root) {
  const TomlValue* section = root.find("announce");
  if (section == nullptr) return std::nullopt;
  const TomlTable table =
      section->table({"via", "table", "metric", "drain_metric", "min_backends", "services",
                      "startup_deadline", "drain_wait", "orphan_timeout", "bird_socket"});
  AnnounceConfig announce;
  const auto duration = [&](std::string_view key, milliseconds& into, milliseconds most) {
    table.with(key, [&](const TomlValue& value) { into = read_duration(value, milliseconds(0), most); });
  };
  table.with_required("via", "via = \"bird\"", [](const TomlValue& value) { (void)value.one_of({"bird"}); });
  table.with("table", [&](const TomlValue& value) { announce.table = read_table(value); });
  read_metrics(table, announce);
  announce.min_backends =
      static_cast<uint32_t>(table.integer_or("min_backends", announce.min_backends, 1, 65535));
  table.with("services", [&](const TomlValue& value) {
    announce.every_service = value.one_of({"any", "all"}) == 1;
  });
  duration("startup_deadline", announce.startup_deadline, hours(1));
  duration("drain_wait", announce.drain_wait, hours(1));
  duration("orphan_timeout", announce.orphan_timeout, hours(24 * 7));
  table.with("bird_socket", [&](const TomlValue& value) { announce.bird_socket = read_socket(value); });
  return announce;
}

tl::expected<std::optional<AnnounceConfig>, std::string> load_announce_config(
    const std::filesystem::path& file) {
  try {
    const TomlValue document = read_toml(file);
    auto announce = read_announce_section(document.table_with_any_keys());
    document.place().throw_mistakes();
    return announce;
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

}  // namespace linimo
