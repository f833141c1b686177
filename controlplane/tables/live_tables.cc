#include "controlplane/tables/live_tables.h"

#include <cstring>

#include "maglev/snapshot.h"

namespace linimo {

tl::expected<LiveTables, std::string> read_live_tables(std::vector<std::byte> bytes) {
  const auto view = SnapshotView::validate(bytes);
  if (!view) return tl::unexpected(view.error());
  LiveTables live;
  live.generation = view->header().generation;
  live.digest = view->header().digest;
  for (const linimo_pool& pool : view->pools()) {
    for (const linimo_backend& backend : view->backends(pool)) {
      live.backends[{pool.name, Address::from_abi(backend.address)}] = {
          backend.id, static_cast<linimo_backend_state>(backend.state), backend.weight};
    }
  }
  for (const linimo_service& service : view->services()) live.services[service.name] = service.id;
  live.bytes = std::move(bytes);
  return live;
}

std::map<BackendKey, Standing> standings_in(const LiveTables& live, const Config& config) {
  std::map<BackendKey, Standing> standings;
  for (const auto& [key, backend] : live.backends) {
    standings.emplace(key, backend.state == LINIMO_BACKEND_DOWN ? HealthState::kDown : HealthState::kUp);
  }
  for (const PoolConfig& pool : config.pools) {
    std::map<BackendKey, uint32_t> eighths;  // of what is configured; a whole weight is eight of them
    bool whole = false;
    for (const BackendConfig& backend : pool.backends) {
      const BackendKey key{pool.name, backend.address};
      const auto found = live.backends.find(key);
      if (found == live.backends.end() || found->second.state != LINIMO_BACKEND_UP || backend.weight == 0)
        continue;
      if (found->second.weight % backend.weight != 0) continue;
      const uint32_t parts = found->second.weight / backend.weight;
      if (parts >= 1 && parts <= Standing::kFullWeight) eighths[key] = parts;
      whole |= parts == Standing::kFullWeight;
    }
    if (!whole)
      continue;  // weights as they are configured, or changed since: who starts slowly does so beside others
    for (const auto& [key, parts] : eighths) standings.at(key).eighths = parts;
  }
  return standings;
}

bool same_tables(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  if (a.size() < sizeof(linimo_header) || b.size() < sizeof(linimo_header)) return false;
  const auto header_of = [](const std::vector<std::byte>& bytes) {
    linimo_header header;
    std::memcpy(&header, bytes.data(), sizeof header);
    return header;
  };
  linimo_header header_a = header_of(a);
  linimo_header header_b = header_of(b);
  for (int i = 0; i < LINIMO_SECTION_COUNT; ++i) {
    const linimo_extent& of_a = header_a.sections[i];
    const linimo_extent& of_b = header_b.sections[i];
    if (i == LINIMO_SECTION_UNSETTLED) continue;
    if (of_a.count != of_b.count) return false;
    // The slots need no look: their checksums stand with their pools.
    if (i == LINIMO_SECTION_SLOTS || i == LINIMO_SECTION_POOLS) continue;
    if (of_a.count != 0 && std::memcmp(a.data() + of_a.offset, b.data() + of_b.offset,
                                       size_t{of_a.count} * of_a.record_size) != 0)
      return false;
  }
  for (uint32_t p = 0; p < header_a.sections[LINIMO_SECTION_POOLS].count; ++p) {
    const auto pool_of = [p](const std::vector<std::byte>& bytes, const linimo_header& header) {
      linimo_pool pool;
      std::memcpy(&pool, bytes.data() + header.sections[LINIMO_SECTION_POOLS].offset + p * sizeof pool,
                  sizeof pool);
      pool.unsettled_first = pool.unsettled_count = 0;
      return pool;
    };
    const linimo_pool of_a = pool_of(a, header_a);
    const linimo_pool of_b = pool_of(b, header_b);
    if (std::memcmp(&of_a, &of_b, sizeof of_a) != 0) return false;
  }
  for (linimo_header* header : {&header_a, &header_b}) {
    header->generation = header->size = header->checksum = 0;
    std::memset(header->sections, 0, sizeof header->sections);
  }
  return std::memcmp(&header_a, &header_b, sizeof header_a) == 0;
}

}  // namespace linimo
