#include "controlplane/tables/drains.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace linimo {
namespace {

using nlohmann::json;

constexpr int kFileVersion = 1;
constexpr uintmax_t kMaxFileSize = 64 << 20;

}  // namespace

bool Drains::set(const BackendKey& backend, bool drain) {
  return drain ? backends_.insert(backend).second : backends_.erase(backend) != 0;
}

bool Drains::keep_those_of(const Config& config) {
  std::set<BackendKey> kept;
  for (const PoolConfig& pool : config.pools) {
    for (const BackendConfig& backend : pool.backends) {
      if (BackendKey key{pool.name, backend.address}; contains(key)) kept.insert(std::move(key));
    }
  }
  const bool changed = kept.size() != backends_.size();
  backends_ = std::move(kept);
  return changed;
}

tl::expected<void, std::string> Drains::load(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return {};
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::file_size(file, error) > kMaxFileSize || error)
    return tl::unexpected(std::string("cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const json document = json::parse(text, nullptr, false);
  const auto damaged = tl::unexpected(std::string("damaged"));
  if (!document.is_object() || document.value("version", json(0)) != kFileVersion) return damaged;
  const auto entries = document.find("backends");
  if (entries == document.end() || !entries->is_array()) return damaged;
  std::set<BackendKey> read;
  for (const json& entry : *entries) {
    if (!entry.is_object() || !entry.value("pool", json()).is_string() ||
        !entry.value("address", json()).is_string())
      return damaged;
    const auto address = Address::parse(entry["address"].get<std::string>());
    if (!address) return damaged;
    read.insert({entry["pool"].get<std::string>(), *address});
  }
  backends_ = std::move(read);
  return {};
}

tl::expected<void, std::string> Drains::save(const std::filesystem::path& file) const {
  json entries = json::array();
  for (const BackendKey& backend : backends_)
    entries.push_back({{"pool", backend.pool}, {"address", backend.address.to_string()}});
  const std::filesystem::path temporary = file.string() + ".new";
  std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
  stream << json{{"version", kFileVersion}, {"backends", std::move(entries)}}.dump(1) << '\n';
  stream.close();
  if (!stream) return tl::unexpected(fmt::format("{}: {}", temporary.string(), std::strerror(errno)));
  std::error_code error;
  std::filesystem::rename(temporary, file, error);
  if (error) return tl::unexpected(fmt::format("{}: {}", file.string(), error.message()));
  return {};
}

}  // namespace linimo
