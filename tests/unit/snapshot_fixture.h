// A snapshot of two services, and its checksums put right after it was tampered with.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "maglev/hash.h"
#include "maglev/snapshot.h"

namespace linimo {

inline Prefix prefix(const char* text) {
  return Prefix::parse(text).value();
}
inline Address address(const char* text) {
  return Address::parse(text).value();
}

inline PoolSpec pool(const std::string& name, std::vector<BackendSpec> backends, uint32_t table_size = 251) {
  auto table = make_pool_table(backends, table_size);
  return {.name = name,
          .encapsulation = LINIMO_ENCAP_IPIP,
          .backends = std::move(backends),
          .table = std::move(table)};
}

inline ServiceSpec service(const std::string& name, uint32_t id, std::vector<Prefix> vips,
                           std::vector<PortRange> ports) {
  ServiceSpec spec;
  spec.name = name;
  spec.id = id;
  spec.vips = std::move(vips);
  spec.ports = std::move(ports);
  return spec;
}

inline SnapshotSpec two_services() {
  SnapshotSpec spec;
  spec.generation = 7;
  spec.hash_seed = 42;
  spec.encap_source4 = address("10.0.0.11");
  spec.encap_source6 = address("2001:db8::11");
  spec.pools.push_back(pool("web", {{address("10.0.1.2"), 2, 1, LINIMO_BACKEND_UP},
                                    {address("10.0.1.1"), 1, 1, LINIMO_BACKEND_DOWN},
                                    {address("2001:db8:1::3"), 3, 2, LINIMO_BACKEND_UP}}));
  spec.pools[0].unsettled = {{9, address("10.0.1.2"), 300}, {77, address("2001:db8:1::3"), 1}};
  spec.services.push_back(
      service("web", 0, {prefix("203.0.113.10"), prefix("2001:db8:f::10")}, {{80, 80}, {443, 443}}));
  spec.services.push_back(service("dns", 5, {prefix("203.0.113.11")}, {{53, 53}}));
  spec.services[1].protocol = 17;
  spec.services[1].scheduler = LINIMO_SCHEDULER_LEAST_CONNECTIONS;
  spec.services[1].allow_sources = {prefix("192.0.2.0/24")};
  return spec;
}

/// Puts the checksums right: each pool's of its slots, the header's of all before the slots; as far as there
/// are such.
inline void seal(std::vector<std::byte>& bytes) {
  auto& header = *reinterpret_cast<linimo_header*>(bytes.data());
  const linimo_extent slots = header.sections[LINIMO_SECTION_SLOTS];
  const linimo_extent pools = header.sections[LINIMO_SECTION_POOLS];
  const uint64_t end = std::min<uint64_t>(slots.offset, bytes.size());
  for (uint64_t i = 0;
       i < pools.count && pools.offset <= end && (i + 1) * sizeof(linimo_pool) <= end - pools.offset; ++i) {
    if (pools.offset % 8 != 0) break;
    auto& pool = reinterpret_cast<linimo_pool*>(bytes.data() + pools.offset)[i];
    const uint64_t most = (bytes.size() - end) / sizeof(linimo_slot);
    if (pool.slot_first > most || pool.table_size > most - pool.slot_first) continue;
    pool.slots_checksum = XXH3_64bits(bytes.data() + end + pool.slot_first * sizeof(linimo_slot),
                                      pool.table_size * sizeof(linimo_slot));
  }
  header.checksum = 0;
  header.checksum = XXH3_64bits(bytes.data(), end);
}

}  // namespace linimo
