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
  const TomlValue* drain = table.find("drain_metric");
  if (drain != nullptr) announce.drain_metric = static_cast<uint32_t>(drain->integer(1, kMaxMetric));
  if (announce.drain_metric > announce.metric) return;
  const TomlValue& wrong = drain != nullptr ? *drain : *table.find("metric");
  wrong.fail(fmt::format("drain_metric {} is not above metric {}", announce.drain_metric, announce.metric),
             "routes that rank behind while the node drains");
}

}  // namespace

std::optional<AnnounceConfig> read_announce_section(const TomlTable& root) {
  const TomlValue* section = root.find("announce");
  if (section == nullptr) return std::nullopt;
  const TomlTable table =
      section->table({"via", "table", "metric", "drain_metric", "min_backends", "services",
                      "startup_deadline", "drain_wait", "orphan_timeout", "bird_socket"});
  AnnounceConfig announce;
  (void)table.require("via", "via = \"bird\"").one_of({"bird"});
  if (const TomlValue* number = table.find("table")) announce.table = read_table(*number);
  read_metrics(table, announce);
  announce.min_backends =
      static_cast<uint32_t>(table.integer_or("min_backends", announce.min_backends, 1, 65535));
  if (const TomlValue* services = table.find("services"))
    announce.every_service = services->one_of({"any", "all"}) == 1;
  if (const TomlValue* deadline = table.find("startup_deadline"))
    announce.startup_deadline = read_duration(*deadline, milliseconds(0), hours(1));
  if (const TomlValue* wait = table.find("drain_wait"))
    announce.drain_wait = read_duration(*wait, milliseconds(0), hours(1));
  if (const TomlValue* orphan = table.find("orphan_timeout"))
    announce.orphan_timeout = read_duration(*orphan, milliseconds(0), hours(24 * 7));
  if (const TomlValue* socket = table.find("bird_socket")) announce.bird_socket = read_socket(*socket);
  return announce;
}

tl::expected<std::optional<AnnounceConfig>, std::string> load_announce_config(
    const std::filesystem::path& file) {
  try {
    const TomlValue document = read_toml(file);
    return read_announce_section(document.table_with_any_keys());
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

}  // namespace linimo
