#include "controlplane/config/config.h"

#include <algorithm>

#include <fmt/format.h>

#include "controlplane/config/hash_seed.h"
#include "controlplane/config/sections.h"
#include "maglev/hash.h"

namespace linimo {
namespace {

uint64_t read_hash_seed(const TomlTable& root, const NodeConfig& node) {
  auto seed = load_hash_seed(node.hash_seed_file);
  if (seed) return *seed;
  const TomlValue& section = root.require("node", "");
  const TomlValue* named = section.table_with_any_keys().find("hash_seed_file");
  throw ConfigError((named != nullptr ? *named : section).place().to_string() + ": " + seed.error());
}

std::vector<const TomlValue*> sections(const TomlTable& root, std::string_view key,
                                       std::string_view expected) {
  std::vector<const TomlValue*> values;
  if (const TomlValue* section = root.find(key)) {
    for (const TomlValue& value : section->array(expected)) values.push_back(&value);
  }
  return values;
}

Config read_config(const std::filesystem::path& file) {
  const std::string text = read_toml_text(file);
  const TomlValue document = parse_toml(text, file.string());
  const TomlTable root = document.table({"node", "announce", "metrics", "pool", "service"});
  Config config;
  config.file = file;
  config.revision = fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
  config.node = read_node_section(root);
  config.announce = read_announce_section(root);
  if (const TomlValue* metrics = root.find("metrics")) config.metrics = read_metrics(*metrics);

  std::vector<PoolSection> pools;
  for (const TomlValue* value : sections(root, "pool", "[[pool]] sections"))
    pools.push_back(read_pool(*value));
  std::vector<ServiceSection> services;
  for (const TomlValue* value : sections(root, "service", "[[service]] sections")) {
    services.push_back(read_service(*value, pools));
  }
  check_across_sections(config.node, pools, services);
  complete_tunnel_checks(config.node, pools, services);
  config.hash_seed = read_hash_seed(root, config.node);

  for (PoolSection& section : pools) config.pools.push_back(std::move(section.pool));
  for (ServiceSection& section : services) config.services.push_back(std::move(section.service));
  return config;
}

}  // namespace

std::chrono::seconds Config::longest_idle_timeout() const {
  uint32_t longest = 900;
  for (const ServiceConfig& service : services) longest = std::max(longest, service.idle_timeout_s);
  return std::chrono::seconds(longest);
}

tl::expected<Config, std::string> load_config(const std::filesystem::path& file) {
  try {
    return read_config(file);
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

}  // namespace linimo
