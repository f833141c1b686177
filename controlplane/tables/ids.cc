#include "controlplane/tables/ids.h"

#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "maglev/state_file.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr int kFileVersion = 1;
constexpr size_t kMaxFileSize = 256 << 20;

/// Written straight into the text: there may be a quarter of a million, and this runs on the loop that
/// decides.
void append(std::string& text, std::string_view key, const IdRegistry& registry) {
  auto out = std::back_inserter(text);
  fmt::format_to(out, " \"{}\": {{", key);
  const char* separator = "\n";
  for (const auto& [name, entry] : registry.entries()) {
    const std::string quoted = json(name).dump(-1, ' ', true, json::error_handler_t::replace);
    fmt::format_to(out, "{}  {}: {{\"held\": {}, \"id\": {}}}", separator, quoted, entry.held, entry.id);
    separator = ",\n";
  }
  text += "\n }";
}

bool from_json(const json& document, const char* key, IdRegistry& registry, IdRegistry::Time now) {
  const auto entries = document.find(key);
  if (entries == document.end() || !entries->is_object()) return false;
  for (const auto& [name, entry] : entries->items()) {
    if (!entry.is_object() || !entry.contains("id") || !entry.contains("held")) return false;
    const json& id = entry["id"];
    const json& held = entry["held"];
    if (!id.is_number_unsigned() || id.get<uint64_t>() > UINT32_MAX || !held.is_boolean()) return false;
    if (!registry.learn(name, id.get<uint32_t>(), held.get<bool>(), now)) return false;
  }
  return true;
}

/// Numbers that rest, and then those that are live and not needed any more, are taken before their time only
/// where there are no others. There are always enough: a configuration has at most as many names as there are
/// numbers. False if it came to that.
bool hold_at_any_price(IdRegistry& registry, const std::set<std::string>& names, std::set<std::string> live,
                       IdRegistry::Time now, std::chrono::seconds rest) {
  live.insert(names.begin(), names.end());
  if (registry.hold(live, now, rest)) return true;
  if (!registry.hold(live, now, std::chrono::seconds(0))) registry.hold(names, now, std::chrono::seconds(0));
  return false;
}

}  // namespace

bool Ids::hold(const Config& config, std::span<const BackendKey> others, const LiveTables& live, Time now) {
  std::set<std::string> backends;
  std::set<std::string> services;
  for (const PoolConfig& pool : config.pools) {
    for (const BackendConfig& backend : pool.backends) backends.insert(name_of({pool.name, backend.address}));
  }
  for (const BackendKey& other : others) backends.insert(name_of(other));
  for (const ServiceConfig& service : config.services) services.insert(service.name);
  // What the data plane still forwards by keeps its number, however long it takes to replace it.
  std::set<std::string> live_backends;
  std::set<std::string> live_services;
  for (const auto& [key, backend] : live.backends) {
    if (std::string name = name_of(key); backends_.find(name) == backend.id)
      live_backends.insert(std::move(name));
  }
  for (const auto& [name, id] : live.services) {
    if (services_.find(name) == id) live_services.insert(name);
  }
  const std::chrono::seconds rest = config.longest_idle_timeout();
  const bool backends_rested = hold_at_any_price(backends_, backends, std::move(live_backends), now, rest);
  const bool services_rested = hold_at_any_price(services_, services, std::move(live_services), now, rest);
  return backends_rested && services_rested;
}

void Ids::learn(const LiveTables& live, Time now) {
  for (const auto& [key, backend] : live.backends) backends_.learn(name_of(key), backend.id, true, now);
  for (const auto& [name, id] : live.services) services_.learn(name, id, true, now);
}

tl::expected<void, std::string> Ids::load(const std::filesystem::path& file, Time now) {
  const auto text = read_state_file(file, kMaxFileSize);
  if (!text) return tl::unexpected(text.error());
  if (!*text) return {};
  const json document = json::parse(**text, nullptr, false);
  Ids read;
  if (!document.is_object() || document.value("version", json(0)) != kFileVersion ||
      !from_json(document, "backends", read.backends_, now) ||
      !from_json(document, "services", read.services_, now)) {
    return tl::unexpected(std::string("damaged"));
  }
  read.saved_ = read.versions();
  *this = std::move(read);
  return {};
}

tl::expected<void, std::string> Ids::save(const std::filesystem::path& file) {
  if (versions() == saved_) return {};
  std::string text = fmt::format("{{\n \"version\": {},\n", kFileVersion);
  append(text, "backends", backends_);
  text += ",\n";
  append(text, "services", services_);
  text += "\n}\n";
  // Nothing remembers an id over a power cut.
  if (auto saved = write_state_file(file, text, Outlives::kPowerCut); !saved) return saved;
  saved_ = versions();
  return {};
}

}  // namespace linimo
