#include "controlplane/tables/ids.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace linimo {
namespace {

using nlohmann::json;

constexpr int kFileVersion = 1;
constexpr uintmax_t kMaxFileSize = 256 << 20;

json to_json(const IdRegistry& registry) {
  json entries = json::object();
  for (const auto& [name, entry] : registry.entries()) {
    entries[name] = {{"id", entry.id}, {"held", entry.held}};
  }
  return entries;
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

}  // namespace

tl::expected<void, std::string> Ids::hold(const Config& config, const LiveTables& live, Time now) {
  std::set<std::string> backends;
  std::set<std::string> services;
  for (const PoolConfig& pool : config.pools) {
    for (const BackendConfig& backend : pool.backends) backends.insert(name_of({pool.name, backend.address}));
  }
  for (const ServiceConfig& service : config.services) services.insert(service.name);
  // What the data plane still forwards by must not lose its number, however long it takes to replace it.
  for (const auto& [key, backend] : live.backends) {
    if (std::string name = name_of(key); backends_.find(name) == backend.id) backends.insert(std::move(name));
  }
  for (const auto& [name, id] : live.services) {
    if (services_.find(name) == id) services.insert(name);
  }

  const std::chrono::seconds rest = config.longest_idle_timeout();
  const IdRegistry before = backends_;
  std::string_view what = "backend";
  if (backends_.hold(backends, now, rest)) {
    if (services_.hold(services, now, rest)) return {};
    what = "service";
    backends_ = before;
  }
  return tl::unexpected(
      fmt::format("no {} id is free: those given up rest for {} s; try again then", what, rest.count()));
}

void Ids::learn(const LiveTables& live, Time now) {
  for (const auto& [key, backend] : live.backends) backends_.learn(name_of(key), backend.id, true, now);
  for (const auto& [name, id] : live.services) services_.learn(name, id, true, now);
}

tl::expected<void, std::string> Ids::load(const std::filesystem::path& file, Time now) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return {};
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::file_size(file, error) > kMaxFileSize || error) {
    return tl::unexpected(std::string("cannot be read"));
  }
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const json document = json::parse(text, nullptr, false);
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
  const json document = {
      {"version", kFileVersion}, {"backends", to_json(backends_)}, {"services", to_json(services_)}};
  const std::filesystem::path temporary = file.string() + ".new";
  std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
  stream << document.dump(1) << '\n';
  stream.close();
  if (!stream) return tl::unexpected(fmt::format("{}: {}", temporary.string(), std::strerror(errno)));
  std::error_code error;
  std::filesystem::rename(temporary, file, error);
  if (error) return tl::unexpected(fmt::format("{}: {}", file.string(), error.message()));
  saved_ = versions();
  return {};
}

}  // namespace linimo
