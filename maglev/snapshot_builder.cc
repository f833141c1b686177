#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "maglev/hash.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

/// One claim of a service on ports of a VIP prefix.
struct Claim {
  PortRange ports;
  uint32_t prefix_length;
  uint16_t service;
  uint8_t protocol;

  // An exact port before a range before any port; then the longer prefix; then the narrower range.
  auto precedence() const {
    const uint32_t width = uint32_t{ports.last} - ports.first;
    const int kind = width == 0 ? 0 : width == 65535 ? 2 : 1;
    return std::tuple(kind, 128 - prefix_length, width);
  }
};

struct LongestFirst {
  bool operator()(const Prefix& a, const Prefix& b) const {
    return a.length != b.length ? a.length > b.length : a.address < b.address;
  }
};
using ClaimsByVip = std::map<Prefix, std::vector<Claim>, LongestFirst>;

ClaimsByVip claims_of(std::span<const ServiceSpec> services) {
  ClaimsByVip claims;
  for (size_t i = 0; i < services.size(); ++i) {
    for (const Prefix& vip : services[i].vips) {
      for (const PortRange& ports : services[i].ports) {
        claims[vip].push_back({ports, vip.length, static_cast<uint16_t>(i), services[i].protocol});
      }
    }
  }
  return claims;
}

/// The claims on a VIP together with those of shorter prefixes around it.
std::vector<Claim> with_covering(const ClaimsByVip& all, const std::set<uint32_t>& lengths,
                                 const Prefix& vip) {
  std::vector<Claim> claims = all.at(vip);
  for (const uint32_t length : lengths) {
    if (length >= vip.length) break;
    const auto covering = all.find({masked(vip.address, length), length});
    if (covering == all.end() || !covering->first.contains(vip)) continue;
    claims.insert(claims.end(), covering->second.begin(), covering->second.end());
  }
  return claims;
}

/// Turns overlapping claims into disjoint rules sorted by port.
void append_rules(std::vector<Claim> claims, uint8_t protocol, std::vector<linimo_rule>& rules) {
  std::erase_if(claims, [&](const Claim& claim) { return claim.protocol != protocol; });
  std::stable_sort(claims.begin(), claims.end(),
                   [](const Claim& a, const Claim& b) { return a.precedence() < b.precedence(); });
  std::vector<uint32_t> starts;  // where the answer may change
  for (const Claim& claim : claims) {
    starts.push_back(claim.ports.first);
    starts.push_back(uint32_t{claim.ports.last} + 1);
  }
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());

  // The best claim takes its stretches first, each later one what is still free. `next_free` leads over what
  // is taken, its path halved on each walk, so that many claims on many ports stay cheap.
  std::vector<uint32_t> next_free(starts.size());
  std::iota(next_free.begin(), next_free.end(), 0);
  const auto free_from = [&](uint32_t at) {
    while (next_free[at] != at) at = next_free[at] = next_free[next_free[at]];
    return at;
  };
  std::vector<const Claim*> owner(starts.size());
  for (const Claim& claim : claims) {
    const auto first = std::lower_bound(starts.begin(), starts.end(), claim.ports.first) - starts.begin();
    for (uint32_t at = free_from(static_cast<uint32_t>(first)); starts[at] <= claim.ports.last;
         at = free_from(at)) {
      owner[at] = &claim;
      next_free[at] = at + 1;
    }
  }

  const size_t first_rule = rules.size();
  for (size_t at = 0; at + 1 < starts.size(); ++at) {
    if (owner[at] == nullptr) continue;
    const auto last = static_cast<uint16_t>(starts[at + 1] - 1);
    const uint16_t service = owner[at]->service;
    if (rules.size() > first_rule && rules.back().service == service &&
        rules.back().port_last + 1U == starts[at]) {
      rules.back().port_last = last;
    } else {
      rules.push_back({static_cast<uint16_t>(starts[at]), last, protocol, service});
    }
  }
}

void set_name(char (&field)[LINIMO_NAME_SIZE], const std::string& name) {
  std::memcpy(field, name.data(), std::min<size_t>(name.size(), LINIMO_NAME_SIZE - 1));
}

struct Sections {
  std::vector<linimo_vip> vips;
  std::vector<linimo_rule> rules;
  std::vector<linimo_service> services;
  std::vector<linimo_source> sources;
  std::vector<linimo_pool> pools;
  std::vector<linimo_backend> backends;
  std::vector<linimo_unsettled> unsettled;
  uint64_t slot_count = 0;
};

void add_unsettled(const PoolSpec& spec, std::span<const linimo_backend> backends,
                   std::vector<linimo_unsettled>& out) {
  if (spec.unsettled.empty()) return;
  std::map<Address, uint16_t> index_of;
  for (const linimo_backend& backend : backends)
    index_of.emplace(Address::from_abi(backend.address), static_cast<uint16_t>(index_of.size()));
  for (const UnsettledSpec& slot : spec.unsettled)
    out.push_back({.slot = slot.slot, .base = index_of.at(slot.base), .learning_s = slot.learning_s});
}

void add_pool(const PoolSpec& spec, Sections& out) {
  linimo_pool pool{};
  set_name(pool.name, spec.name);
  pool.slot_first = out.slot_count;
  pool.table_size = static_cast<uint32_t>(spec.table->slots.size());
  pool.backend_first = static_cast<uint32_t>(out.backends.size());
  pool.backend_count = static_cast<uint32_t>(spec.backends.size());
  pool.encapsulation = spec.encapsulation;
  pool.server_id_length = spec.server_id_length;
  pool.gue_port = spec.encapsulation == LINIMO_ENCAP_GUE ? spec.gue_port : 0;
  pool.digest = spec.table->digest;
  pool.slots_checksum = spec.table->slots_checksum;
  pool.unsettled_first = static_cast<uint32_t>(out.unsettled.size());
  pool.unsettled_count = static_cast<uint32_t>(spec.unsettled.size());
  out.slot_count += pool.table_size;
  out.pools.push_back(pool);

  const auto before = [](const BackendSpec& a, const BackendSpec& b) { return a.stands_before(b); };
  std::vector<BackendSpec> sorted;
  const bool in_order = std::is_sorted(spec.backends.begin(), spec.backends.end(), before);
  if (!in_order) {
    sorted = spec.backends;
    std::sort(sorted.begin(), sorted.end(), before);
  }
  for (const BackendSpec& backend : in_order ? spec.backends : sorted) {
    out.backends.push_back({.address = backend.address.to_abi(),
                            .id = backend.id,
                            .weight = backend.weight,
                            .state = backend.state,
                            .reserved = 0,
                            .server_id = spec.server_id_length != 0 ? backend.server_id : 0});
  }
  add_unsettled(spec, {out.backends.data() + pool.backend_first, pool.backend_count}, out.unsettled);
}

void add_service(const ServiceSpec& spec, Sections& out) {
  linimo_service service{};
  set_name(service.name, spec.name);
  service.id = spec.id;
  service.pool = spec.pool;
  service.source_first = static_cast<uint32_t>(out.sources.size());
  service.source_count = static_cast<uint32_t>(spec.allow_sources.size());
  service.idle_timeout_s = spec.idle_timeout_s;
  service.protocol = spec.protocol;
  service.tracking = spec.tracking;
  service.no_backend = spec.no_backend;
  service.scheduler = static_cast<uint8_t>(spec.scheduler);
  service.quic = spec.quic ? 1 : 0;
  service.server_id_offset = spec.quic ? spec.server_id_offset : 0;
  service.shares_flows = spec.shares_flows && spec.tracking == LINIMO_TRACKING_ADAPTIVE ? 1 : 0;
  out.services.push_back(service);
  for (const Prefix& source : spec.allow_sources)
    out.sources.push_back({source.address.to_abi(), source.length, 0});
}

void add_vips(std::span<const ServiceSpec> services, Sections& out) {
  const ClaimsByVip claims = claims_of(services);
  std::set<uint32_t> lengths;
  for (const auto& [vip, unused] : claims) lengths.insert(vip.length);
  for (const auto& [vip, unused] : claims) {
    const auto first = static_cast<uint32_t>(out.rules.size());
    const std::vector<Claim> all = with_covering(claims, lengths, vip);
    for (const uint8_t protocol : {6, 17}) append_rules(all, protocol, out.rules);
    out.vips.push_back({.address = vip.address.to_abi(),
                        .prefix_length = vip.length,
                        .rule_first = first,
                        .rule_count = static_cast<uint32_t>(out.rules.size()) - first,
                        .reserved = 0});
  }
}

constexpr uint64_t aligned(uint64_t offset) {
  return (offset + 63) / 64 * 64;
}

template <typename Record>
void place(linimo_header& header, linimo_section which, uint64_t count) {
  header.sections[which] = {aligned(header.size), static_cast<uint32_t>(count), sizeof(Record)};
  header.size = header.sections[which].offset + count * sizeof(Record);
}

template <typename Record>
void copy(std::vector<std::byte>& bytes, const linimo_header& header, linimo_section which,
          std::span<const Record> records) {
  if (!records.empty()) {
    std::memcpy(bytes.data() + header.sections[which].offset, records.data(), records.size_bytes());
  }
}

linimo_header header_of(std::span<const std::byte> bytes) {
  linimo_header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

std::vector<linimo_pool> pools_of(std::span<const std::byte> head) {
  const linimo_extent& extent = header_of(head).sections[LINIMO_SECTION_POOLS];
  std::vector<linimo_pool> pools(extent.count);
  if (!pools.empty())
    std::memcpy(pools.data(), head.data() + extent.offset, pools.size() * sizeof(linimo_pool));
  return pools;
}

/// The pools whose tables an earlier snapshot has in the places where the next one's will be.
std::vector<linimo_pool> pools_in_place(std::span<const std::byte> earlier_head, const linimo_header& next) {
  if (earlier_head.size() < sizeof(linimo_header)) return {};
  const linimo_header earlier = header_of(earlier_head);
  const bool same_place =
      earlier.sections[LINIMO_SECTION_SLOTS].offset == next.sections[LINIMO_SECTION_SLOTS].offset;
  return same_place ? pools_of(earlier_head) : std::vector<linimo_pool>();
}

bool same_slots(std::span<const linimo_pool> held, size_t index, const linimo_pool& pool) {
  return index < held.size() && held[index].slot_first == pool.slot_first &&
         held[index].table_size == pool.table_size && held[index].slots_checksum == pool.slots_checksum;
}

}  // namespace

std::vector<TableMember> members_of(std::span<const BackendSpec> backends) {
  std::vector<TableMember> members;
  for (const BackendSpec& backend : backends) {
    if (backend.takes_slots()) members.push_back({backend.address, backend.weight});
  }
  std::sort(members.begin(), members.end());
  return members;
}

std::shared_ptr<const PoolTable> make_pool_table(std::span<const BackendSpec> backends, uint32_t table_size) {
  auto table = std::make_shared<PoolTable>();
  table->members = members_of(backends);
  table->slots = populate(table->members, table_size);
  table->slots_checksum = XXH3_64bits(table->slots.data(), table->slots.size() * sizeof(linimo_slot));
  table->digest = table_digest(table->members, table->slots);
  return table;
}

std::shared_ptr<const PoolTable> make_handler_table(std::span<const BackendSpec> others,
                                                    const std::optional<Address>& self, uint32_t table_size) {
  std::vector<BackendSpec> all(others.begin(), others.end());
  if (self) all.push_back({.address = *self});
  std::shared_ptr<const PoolTable> of_all = make_pool_table(all, table_size);
  if (!self) return of_all;
  auto table = std::make_shared<PoolTable>(*of_all);
  const auto own = static_cast<linimo_slot>(std::ranges::find(table->members, *self, &TableMember::address) -
                                            table->members.begin());
  table->members.erase(table->members.begin() + own);
  for (linimo_slot& slot : table->slots) {
    if (slot != LINIMO_NO_BACKEND) slot = slot == own ? LINIMO_NO_BACKEND : slot - (slot > own ? 1 : 0);
  }
  table->slots_checksum = XXH3_64bits(table->slots.data(), table->slots.size() * sizeof(linimo_slot));
  return table;
}

uint64_t snapshot_digest(const SnapshotSpec& spec) {
  uint64_t digest = 0;
  // A sum, so that the order of pools does not matter.
  for (const PoolSpec& pool : spec.service_pools()) {
    digest += XXH3_64bits_withSeed(pool.name.data(), pool.name.size(), pool.table->digest);
  }
  return digest;
}

std::span<const std::byte> head_of(std::span<const std::byte> snapshot) {
  return snapshot.first(header_of(snapshot).sections[LINIMO_SECTION_SLOTS].offset);
}

std::vector<Stretch> changed_stretches(std::span<const std::byte> earlier_head,
                                       std::span<const std::byte> next) {
  const size_t slots = head_of(next).size();
  const std::vector<linimo_pool> held = pools_in_place(earlier_head, header_of(next));
  const std::vector<linimo_pool> pools = pools_of(next);
  std::vector<Stretch> stretches = {{0, slots}};
  for (size_t p = 0; p < pools.size(); ++p) {
    if (same_slots(held, p, pools[p])) continue;
    stretches.push_back(
        {slots + pools[p].slot_first * sizeof(linimo_slot), pools[p].table_size * sizeof(linimo_slot)});
  }
  return stretches;
}

std::vector<std::byte> build_snapshot(const SnapshotSpec& spec) {
  std::vector<std::byte> bytes;
  build_snapshot(spec, bytes);
  return bytes;
}

void build_snapshot(const SnapshotSpec& spec, std::vector<std::byte>& bytes) {
  Sections sections;
  size_t backends = 0;
  for (const PoolSpec& pool : spec.pools) backends += pool.backends.size();
  sections.backends.reserve(backends);
  for (const PoolSpec& pool : spec.pools) add_pool(pool, sections);
  for (const ServiceSpec& service : spec.services) add_service(service, sections);
  add_vips(spec.services, sections);

  linimo_header header{};
  header.magic = LINIMO_SNAPSHOT_MAGIC;
  header.abi_version = LINIMO_ABI_VERSION;
  header.header_size = sizeof header;
  header.hash_algorithm = LINIMO_HASH_XXH3_64;
  header.table_algorithm = LINIMO_TABLE_MAGLEV;
  header.generation = spec.generation;
  header.size = sizeof header;
  header.hash_seed = spec.hash_seed;
  header.digest = snapshot_digest(spec);
  header.encap_source4 = spec.encap_source4.to_abi();
  header.encap_source6 = spec.encap_source6.to_abi();
  header.encap_prefix4 = spec.encap_prefix4;
  header.encap_prefix6 = spec.encap_prefix6;
  header.reply_rate = spec.reply_rate;
  header.announce_table = spec.announce_table;
  header.orphan_timeout_ms = spec.orphan_timeout_ms;
  header.node_pool =
      static_cast<uint16_t>(spec.has_node_pool && spec.pools.size() <= UINT16_MAX ? spec.pools.size() : 0);
  header.handlers_move = header.node_pool != 0 && spec.handlers_move ? 1 : 0;
  place<linimo_vip>(header, LINIMO_SECTION_VIPS, sections.vips.size());
  place<linimo_rule>(header, LINIMO_SECTION_RULES, sections.rules.size());
  place<linimo_service>(header, LINIMO_SECTION_SERVICES, sections.services.size());
  place<linimo_source>(header, LINIMO_SECTION_SOURCES, sections.sources.size());
  place<linimo_pool>(header, LINIMO_SECTION_POOLS, sections.pools.size());
  place<linimo_backend>(header, LINIMO_SECTION_BACKENDS, sections.backends.size());
  place<linimo_unsettled>(header, LINIMO_SECTION_UNSETTLED, sections.unsettled.size());
  place<linimo_slot>(header, LINIMO_SECTION_SLOTS, sections.slot_count);

  const std::vector<linimo_pool> held = pools_in_place(bytes, header);
  bytes.resize(header.size);
  std::byte* slots = bytes.data() + header.sections[LINIMO_SECTION_SLOTS].offset;
  std::fill(bytes.data(), slots, std::byte{0});  // the gaps between sections
  std::memcpy(bytes.data(), &header, sizeof header);
  copy<linimo_vip>(bytes, header, LINIMO_SECTION_VIPS, sections.vips);
  copy<linimo_rule>(bytes, header, LINIMO_SECTION_RULES, sections.rules);
  copy<linimo_service>(bytes, header, LINIMO_SECTION_SERVICES, sections.services);
  copy<linimo_source>(bytes, header, LINIMO_SECTION_SOURCES, sections.sources);
  copy<linimo_pool>(bytes, header, LINIMO_SECTION_POOLS, sections.pools);
  copy<linimo_backend>(bytes, header, LINIMO_SECTION_BACKENDS, sections.backends);
  copy<linimo_unsettled>(bytes, header, LINIMO_SECTION_UNSETTLED, sections.unsettled);
  for (size_t p = 0; p < spec.pools.size(); ++p) {
    const auto table = std::as_bytes(std::span(spec.pools[p].table->slots));
    const linimo_pool& pool = sections.pools[p];
    if (same_slots(held, p, pool)) continue;
    std::memcpy(slots + pool.slot_first * sizeof(linimo_slot), table.data(), table.size());
  }
  header.checksum =
      XXH3_64bits(bytes.data(), static_cast<size_t>(slots - bytes.data()));  // its field is zero here
  std::memcpy(bytes.data(), &header, sizeof header);
}

}  // namespace linimo
