#include "controlplane/config/config.h"

#include <algorithm>

#include <fmt/format.h>

#include "controlplane/config/hash_seed.h"
#include "controlplane/config/sections.h"
#include "maglev/hash.h"

namespace linimo {
namespace {

/// Where the seed's file is named, or else the section that might have.
const TomlPlace& place_of_seed(const TomlValue& document) {
  const TomlValue& section = document.table_with_any_keys().require("node", "a [node] section");
  const TomlValue* named = section.table_with_any_keys().find("hash_seed_file");
  return (named != nullptr ? *named : section).place();
}

uint64_t read_hash_seed(const TomlValue& document, const NodeConfig& node) {
  auto seed = load_hash_seed(node.hash_seed_file);
  if (seed) return *seed;
  const TomlPlace& place = place_of_seed(document);
  throw ConfigError(place.to_string() + ": " + seed.error(), place.line, place.column);
}

/// Reads each section of a kind. False when one of them made no sense.
template <typename Read>
bool each_section(const TomlTable& root, std::string_view key, std::string_view expected, Read read) {
  bool all = root.find(key) == nullptr;
  root.with(key, [&](const TomlValue& sections) { all = sections.each(expected, read); });
  return all;
}

Config to_config(Sections&& sections) {
  Config config;
  config.warnings = warnings_about(sections);
  config.node = std::move(sections.node);
  config.announce = std::move(sections.announce);
  config.metrics = sections.metrics;
  config.api = std::move(sections.api);
  config.fleet = std::move(sections.fleet);
  for (PoolSection& section : sections.pools) config.pools.push_back(std::move(section.pool));
  for (ServiceSection& section : sections.services) config.services.push_back(std::move(section.service));
  return config;
}

std::string revision_of(const std::string& text) {
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

Config read_config(const TomlValue& document, Sections sections, const std::filesystem::path& file) {
  const uint64_t seed = read_hash_seed(document, sections.node);
  Config config = to_config(std::move(sections));
  config.hash_seed = seed;
  config.file = file;
  return config;
}

Config read_config(const std::string& text, const std::filesystem::path& file) {
  const TomlValue document = parse_toml(text, file.string());
  Sections sections = read_sections(document);
  document.place().throw_mistakes();
  Config config = read_config(document, std::move(sections), file);
  config.revision = revision_of(text);
  return config;
}

Config read_config(const std::string& own_text, const std::filesystem::path& file,
                   const std::string& shared_text, const std::string& name) {
  const TomlValue own = parse_toml(own_text, file.string());
  const TomlValue shared = parse_toml(shared_text, name);
  Sections sections = read_sections(own, shared);
  own.place().throw_mistakes();
  shared.place().throw_mistakes();
  Config config = read_config(own, std::move(sections), file);
  config.revision = revision_of(own_text + shared_text);
  return config;
}

TomlTable root_of(const TomlValue& document) {
  return document.table({"node", "announce", "metrics", "api", "fleet", "pool", "service"});
}

void read_own(const TomlValue& document, Sections& sections) {
  const TomlTable root = root_of(document);
  const TomlPlace& place = document.place();
  const bool read = place.attempt([&] { sections.node = read_node_section(root); });
  sections.node_is_right = read && place.file->mistakes.empty();
  root.with("fleet", [&](const TomlValue& value) { sections.fleet = read_fleet(value); });
}

/// What a node may have to itself or from its fleet; its own section is the one that counts.
void read_either(const TomlValue& own, const TomlValue& shared, Sections& sections) {
  const TomlTable owns = own.table_with_any_keys(), shares = shared.table_with_any_keys();
  const auto holder = [&](std::string_view key) -> const TomlTable& {
    return owns.find(key) != nullptr ? owns : shares;
  };
  const TomlTable& announce = holder("announce");
  announce.place().attempt([&] { sections.announce = read_announce_section(announce); });
  holder("metrics").with("metrics", [&](const TomlValue& value) { sections.metrics = read_metrics(value); });
  holder("api").with("api", [&](const TomlValue& value) { sections.api = read_api(value); });
}

void read_shared(const TomlValue& document, Sections& sections) {
  const TomlTable root = root_of(document);
  sections.place = document.place();
  const bool all_pools = each_section(root, "pool", "[[pool]] sections", [&](const TomlValue& value) {
    sections.pools.push_back(read_pool(value));
  });
  const bool all_services =
      each_section(root, "service", "[[service]] sections", [&](const TomlValue& value) {
        sections.services.push_back(read_service(value, sections.pools, all_pools));
      });
  check_across_sections(sections);
  if (all_services) complete_tunnel_checks(sections);
}

}  // namespace

Sections read_sections(const TomlValue& document) {
  return read_sections(document, document);
}

Sections read_sections(const TomlValue& own, const TomlValue& shared) {
  Sections sections;
  read_own(own, sections);
  read_either(own, shared, sections);
  read_shared(shared, sections);
  return sections;
}

std::chrono::seconds Config::longest_idle_timeout() const {
  uint32_t longest = 900;
  for (const ServiceConfig& service : services) longest = std::max(longest, service.idle_timeout_s);
  return std::chrono::seconds(longest);
}

tl::expected<std::string, std::string> read_config_text(const std::filesystem::path& file) {
  try {
    return read_toml_text(file);
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

tl::expected<Config, std::string> load_config(const std::filesystem::path& file) {
  return read_config_text(file).and_then(
      [&](const std::string& text) { return load_config_text(text, file); });
}

tl::expected<Config, std::string> load_config_text(const std::string& text,
                                                   const std::filesystem::path& file) {
  try {
    return read_config(text, file);
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

tl::expected<Config, std::string> load_config_texts(const std::string& own, const std::filesystem::path& file,
                                                    const std::string& shared, const std::string& name) {
  try {
    return read_config(own, file, shared, name);
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

ConfigReport check_config(const std::filesystem::path& file, bool here) {
  ConfigReport report;
  try {
    const TomlValue document = read_toml(file);
    try {
      Sections sections = read_sections(document);
      if (here) {
        document.place().attempt([&] { (void)read_hash_seed(document, sections.node); });
        report.warnings = warnings_here(sections);
      }
      report.config = to_config(std::move(sections));
    } catch (const ConfigError& error) {  // there are too many already, or the last one ended it
      document.place().file->mistakes.push_back(error);
    }
    for (const ConfigError& mistake : document.place().mistakes())
      report.mistakes.emplace_back(mistake.what());
  } catch (const ConfigError& error) {  // not TOML at all
    report.mistakes.emplace_back(error.what());
  }
  if (!report.mistakes.empty()) report.config.reset();
  if (report.config)
    report.warnings.insert(report.warnings.begin(), report.config->warnings.begin(),
                           report.config->warnings.end());
  return report;
}

}  // namespace linimo
