// What the configuration says and hardly means: accepted, and worth a word.
#include <algorithm>

#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "maglev/table.h"

namespace linimo {
namespace {

constexpr size_t kSlotsPerBackend = 100;  // then a share is exact to one in a hundred

bool takes_new_flows(const BackendConfig& backend) {
  return backend.weight != 0 && !backend.drain;
}

/// Members that are so light beside the others that the table has no slot for them.
std::vector<size_t> without_slot(const PoolConfig& pool) {
  std::vector<TableMember> members;
  std::vector<size_t> index;
  uint64_t total = 0;
  uint64_t least = UINT32_MAX;
  std::vector<size_t> order(pool.backends.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return pool.backends[a].address < pool.backends[b].address; });
  for (const size_t i : order) {
    if (!takes_new_flows(pool.backends[i])) continue;
    members.push_back({pool.backends[i].address, pool.backends[i].weight});
    index.push_back(i);
    total += pool.backends[i].weight;
    least = std::min<uint64_t>(least, pool.backends[i].weight);
  }
  // A share is exact to one slot: only who is due fewer than two may have none.
  if (members.empty() || least * pool.table_size >= 2 * total) return {};
  std::vector<bool> has(members.size());
  for (const linimo_slot slot : populate(members, pool.table_size)) has[slot] = true;
  std::vector<size_t> without;
  for (size_t i = 0; i < members.size(); ++i) {
    if (!has[i]) without.push_back(index[i]);
  }
  return without;
}

uint32_t prime_from(uint64_t least) {
  auto size = static_cast<uint32_t>(std::min<uint64_t>(least, LINIMO_MAX_TABLE_SIZE));
  while (size < LINIMO_MAX_TABLE_SIZE && !is_prime(size)) ++size;
  return size;
}

}  // namespace

std::vector<std::string> warnings_about(const Sections& sections) {
  std::vector<std::string> warnings;
  const auto warn = [&](const TomlValue& value, std::string_view what) {
    warnings.push_back(fmt::format("{}: {}", value.place().to_string(), what));
  };
  for (uint32_t p = 0; p < sections.pools.size(); ++p) {
    const PoolSection& section = sections.pools[p];
    const PoolConfig& pool = section.pool;
    const auto usable =
        static_cast<size_t>(std::count_if(pool.backends.begin(), pool.backends.end(), takes_new_flows));
    if (pool.backends.empty()) {
      warn(*section.place, fmt::format("pool \"{}\" has no backends", pool.name));
    } else if (usable == 0) {
      warn(*section.place, fmt::format("no backend of pool \"{}\" takes new connections: each has weight 0 "
                                       "or drain = true",
                                       pool.name));
    }
    if (usable * kSlotsPerBackend > pool.table_size) {
      warn(*section.place,
           fmt::format("table_size {} is small for {} backends: a share is exact to one slot, so it may be "
                       "off by {} %; {} would be better",
                       pool.table_size, usable, (usable * 100 + pool.table_size - 1) / pool.table_size,
                       prime_from(usable * kSlotsPerBackend)));
    }
    if (const auto without = without_slot(pool); !without.empty()) {
      warn(*section.backends[without.front()],
           fmt::format("{} of pool \"{}\" {} no new connections: its weight beside the others' is less than "
                       "one slot of {}; raise it or table_size",
                       without.size() == 1 ? pool.backends[without.front()].address.to_string()
                                           : fmt::format("{} and {} more backends",
                                                         pool.backends[without.front()].address.to_string(),
                                                         without.size() - 1),
                       pool.name, without.size() == 1 ? "gets" : "get", pool.table_size));
    }
    const bool used = std::any_of(sections.services.begin(), sections.services.end(),
                                  [&](const ServiceSection& service) { return service.service.pool == p; });
    if (!used) warn(*section.place, fmt::format("no service uses pool \"{}\"", pool.name));
  }
  return warnings;
}

}  // namespace linimo
