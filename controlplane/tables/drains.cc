#include "controlplane/tables/drains.h"

#include <nlohmann/json.hpp>

#include "maglev/state_file.h"

namespace linimo {
namespace {

using nlohmann::json;

constexpr int kFileVersion = 1;
constexpr size_t kMaxFileSize = 64 << 20;

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
  const auto text = read_state_file(file, kMaxFileSize);
  if (!text) return tl::unexpected(text.error());
  if (!*text) return {};
  const json document = json::parse(**text, nullptr, false);
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
  const json document = {{"version", kFileVersion}, {"backends", std::move(entries)}};
  return write_state_file(file, document.dump(1) + '\n', Outlives::kPowerCut);
}

}  // namespace linimo
