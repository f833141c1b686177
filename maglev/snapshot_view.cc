#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "maglev/hash.h"
#include "maglev/snapshot.h"

namespace linimo {
namespace {

using Verdict = std::optional<std::string>;  // what is wrong, or nothing

constexpr uint32_t kRecordSizes[LINIMO_SECTION_COUNT] = {
    sizeof(linimo_vip),  sizeof(linimo_rule),    sizeof(linimo_service),   sizeof(linimo_source),
    sizeof(linimo_pool), sizeof(linimo_backend), sizeof(linimo_unsettled), sizeof(linimo_slot)};

template <typename... Args>
std::string wrong(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}

/// XXH3-64 of the head with its checksum field taken as zero, without writing to it.
uint64_t checksum_of(std::span<const std::byte> head) {
  constexpr size_t kField = offsetof(linimo_header, checksum);
  constexpr uint64_t kZero = 0;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  XXH3_64bits_update(&state, head.data(), kField);
  XXH3_64bits_update(&state, &kZero, sizeof kZero);
  XXH3_64bits_update(&state, head.data() + kField + 8, head.size() - kField - 8);
  return XXH3_64bits_digest(&state);
}

Verdict check_header(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(linimo_header)) {
    return wrong("{} bytes are fewer than the header's {}", bytes.size(), sizeof(linimo_header));
  }
  const auto& header = *reinterpret_cast<const linimo_header*>(bytes.data());
  if (header.magic != LINIMO_SNAPSHOT_MAGIC) return wrong("not a snapshot (magic {:#x})", header.magic);
  if (header.abi_version != LINIMO_ABI_VERSION) {
    return wrong("ABI version {}; this program reads {}", header.abi_version, LINIMO_ABI_VERSION);
  }
  if (header.header_size != sizeof header) return wrong("header of {} bytes", header.header_size);
  if (header.hash_algorithm != LINIMO_HASH_XXH3_64) return wrong("unknown hash {}", header.hash_algorithm);
  if (header.table_algorithm != LINIMO_TABLE_MAGLEV) return wrong("unknown table {}", header.table_algorithm);
  if (header.size != bytes.size()) return wrong("says {} bytes, has {}", header.size, bytes.size());
  if (header.generation == 0) return "generation 0";
  if (header.encap_prefix4 < 96 || header.encap_prefix4 > 128 || header.encap_prefix6 < 64 ||
      header.encap_prefix6 > 128) {
    return wrong("encapsulation sources of prefix lengths {} and {}", header.encap_prefix4,
                 header.encap_prefix6);
  }
  const linimo_extent& slots = header.sections[LINIMO_SECTION_SLOTS];
  if (slots.offset > bytes.size() ||
      bytes.size() - slots.offset != uint64_t{slots.count} * sizeof(linimo_slot)) {
    return wrong("section {}: {} slots at {} do not reach to the end, or reach past the end",
                 int{LINIMO_SECTION_SLOTS}, slots.count, slots.offset);
  }
  for (int i = 0; i < LINIMO_SECTION_COUNT; ++i) {
    const linimo_extent& extent = header.sections[i];
    const uint64_t length = uint64_t{extent.count} * kRecordSizes[i];
    if (extent.record_size != kRecordSizes[i])
      return wrong("section {}: records of {} bytes", i, extent.record_size);
    if (extent.offset % 8 != 0 || extent.offset < sizeof header)
      return wrong("section {}: offset {}", i, extent.offset);
    const uint64_t end = i == LINIMO_SECTION_SLOTS ? bytes.size() : slots.offset;
    if (extent.offset > end || length > end - extent.offset) {
      return wrong("section {}: {} records at {} reach past the end", i, extent.count, extent.offset);
    }
  }
  if (header.checksum != checksum_of(bytes.first(slots.offset))) return "checksum does not match";
  return std::nullopt;
}

/// Does [first, first + count) lie within [0, total)?
bool in_bounds(uint64_t first, uint64_t count, uint64_t total) {
  return first <= total && count <= total - first;
}

bool terminated(const char (&name)[LINIMO_NAME_SIZE]) {
  return std::memchr(name, 0, LINIMO_NAME_SIZE) != nullptr;
}

bool is_prefix(const linimo_addr& address, uint32_t length) {
  return length <= 128 && masked(Address::from_abi(address), length) == Address::from_abi(address);
}

Verdict check_rules(const SnapshotView& view, const linimo_vip& vip) {
  const auto rules = view.rules().subspan(vip.rule_first, vip.rule_count);
  for (size_t i = 0; i < rules.size(); ++i) {
    const linimo_rule& rule = rules[i];
    if (rule.protocol != 6 && rule.protocol != 17) return wrong("rule of protocol {}", rule.protocol);
    if (rule.port_first > rule.port_last)
      return wrong("rule of ports {}-{}", rule.port_first, rule.port_last);
    if (rule.service >= view.services().size()) return wrong("rule of service {}", rule.service);
    if (view.services()[rule.service].protocol != rule.protocol) return "rule and service differ in protocol";
    if (i > 0 && std::pair(rules[i - 1].protocol, rules[i - 1].port_last) >=
                     std::pair(rule.protocol, rule.port_first)) {
      return wrong("rules out of order at port {}", rule.port_first);
    }
  }
  return std::nullopt;
}

Verdict check_vips(const SnapshotView& view) {
  const linimo_vip* previous = nullptr;
  uint64_t next_rule =
      0;  // records own consecutive stretches, so that checking takes one pass whatever they say
  for (const linimo_vip& vip : view.vips()) {
    if (!is_prefix(vip.address, vip.prefix_length))
      return wrong("VIP of prefix length {}", vip.prefix_length);
    if (vip.rule_first != next_rule || !in_bounds(next_rule, vip.rule_count, view.rules().size())) {
      return "VIP's rules out of bounds";
    }
    next_rule += vip.rule_count;
    if (previous != nullptr) {
      const int order = std::memcmp(previous->address.bytes, vip.address.bytes, 16);
      const bool sorted = previous->prefix_length != vip.prefix_length
                              ? previous->prefix_length > vip.prefix_length
                              : order < 0;
      if (!sorted) return "VIPs out of order";
    }
    previous = &vip;
    if (auto error = check_rules(view, vip)) return error;
  }
  return std::nullopt;
}

Verdict check_services(const SnapshotView& view) {
  if (view.services().size() > LINIMO_MAX_SERVICES) return wrong("{} services", view.services().size());
  std::vector<bool> seen(LINIMO_MAX_SERVICES);
  for (const linimo_service& service : view.services()) {
    if (!terminated(service.name)) return "service name without an end";
    if (service.id >= LINIMO_MAX_SERVICES || seen[service.id]) return wrong("service id {}", service.id);
    seen[service.id] = true;
    if (service.pool >= view.pools().size()) return wrong("service of pool {}", service.pool);
    if (!in_bounds(service.source_first, service.source_count, view.sources().size())) {
      return "service's sources out of bounds";
    }
    if (service.idle_timeout_s == 0 || service.idle_timeout_s > LINIMO_MAX_IDLE_TIMEOUT_S) {
      return wrong("idle timeout of {} s", service.idle_timeout_s);
    }
    if (service.protocol != 6 && service.protocol != 17)
      return wrong("service of protocol {}", service.protocol);
    if (service.tracking >= LINIMO_TRACKING_COUNT) return wrong("tracking mode {}", service.tracking);
    if (service.no_backend >= LINIMO_NO_BACKEND_COUNT) return wrong("no_backend mode {}", service.no_backend);
    if (service.scheduler >= LINIMO_SCHEDULER_COUNT) return wrong("scheduler {}", service.scheduler);
    if (keeps_state(service.scheduler) && service.tracking != LINIMO_TRACKING_FULL)
      return wrong("scheduler {} with tracking mode {}", service.scheduler, service.tracking);
    if (service.quic > 1 || (service.quic == 1 && service.protocol != 17))
      return wrong("quic {} over protocol {}", service.quic, service.protocol);
    if (service.shares_flows > 1 ||
        (service.shares_flows == 1 && service.tracking != LINIMO_TRACKING_ADAPTIVE))
      return wrong("sharing {} with tracking mode {}", service.shares_flows, service.tracking);
    if (service.server_id_offset + view.pools()[service.pool].server_id_length > LINIMO_MAX_CONNECTION_ID)
      return wrong("server id at {} of a connection id", service.server_id_offset);
  }
  for (const linimo_source& source : view.sources()) {
    if (!is_prefix(source.address, source.prefix_length))
      return wrong("source of length {}", source.prefix_length);
  }
  return std::nullopt;
}

/// Two backends with one server id would take each other's connections.
Verdict check_server_ids(std::span<const linimo_backend> backends, uint32_t length) {
  std::vector<uint64_t> ids;
  ids.reserve(backends.size());
  for (const linimo_backend& backend : backends) {
    if (length < 8 && backend.server_id >> (length * 8) != 0)
      return wrong("server id {:#x} of more than {} bytes", backend.server_id, length);
    ids.push_back(backend.server_id);
  }
  if (length == 0) return std::nullopt;
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) return wrong("server id {:#x} twice in a pool", *twice);
  return std::nullopt;
}

Verdict check_backends(const SnapshotView& view, const linimo_pool& pool, std::vector<bool>& seen) {
  for (const linimo_backend& backend : view.backends(pool)) {
    if (backend.id >= LINIMO_MAX_BACKEND_IDS || seen[backend.id]) return wrong("backend id {}", backend.id);
    seen[backend.id] = true;
    if (backend.state >= LINIMO_BACKEND_STATE_COUNT) return wrong("backend state {}", backend.state);
    const Address address = Address::from_abi(backend.address);
    if (address.is_zero()) return "backend without an address";
    const linimo_addr& source = address.is_v4() ? view.header().encap_source4 : view.header().encap_source6;
    if (Address::from_abi(source).is_zero()) {
      return wrong("no encapsulation source of the family of backend {}", address.to_string());
    }
    if (Address::from_abi(source).is_v4() != address.is_v4())
      return "encapsulation source of the wrong family";
  }
  return check_server_ids(view.backends(pool), pool.server_id_length);
}

/// Hashes a pool's slots and finds their highest, and brings them from `source` first unless that is null: in
/// stretches that stay in the cache between being copied, hashed and compared.
HeldTable take_slots(std::span<const linimo_slot> slots, uint64_t offset, const std::byte* source) {
  constexpr size_t kStretch = size_t{32} * 1024;
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  uint16_t highest = 0;
  for (size_t first = 0; first < slots.size(); first += kStretch) {
    const auto stretch = slots.subspan(first, std::min(kStretch, slots.size() - first));
    if (source != nullptr) {
      std::memcpy(const_cast<linimo_slot*>(stretch.data()), source + first * sizeof(linimo_slot),
                  stretch.size_bytes());
    }
    XXH3_64bits_update(&state, stretch.data(), stretch.size_bytes());
    // A maximum without branches, which the compiler vectorises; "no backend" wraps to 0.
    for (const linimo_slot slot : stretch)
      highest = std::max<uint16_t>(highest, static_cast<uint16_t>(slot + 1));
  }
  return {offset, XXH3_64bits_digest(&state), static_cast<uint32_t>(slots.size()), highest};
}

/// Checks a pool's slots, which come from `source` unless that is null. `held`: what was noted of the pool
/// that last had this number in this memory; what is to be noted of this one.
///
/// A table stays where it is if the one noted had its place, size and checksum. That is sound, because what
/// workers will read was hashed, and its highest index found, here, after it had been copied, and has not
/// been written over: whoever copies forgets first all that the block holds, and notes it again only when all
/// went well; the heads of snapshots end before their first slot; and a pool's slots begin after those of all
/// earlier pools, so that what this call has written so far lies before a table that it finds in place. The
/// source is hashed nevertheless: a byte that changed there is refused, as anywhere. Two tables of one hash
/// (by intent only: it is of 64 bits) would be taken for each other, and the one read would still be sound.
Verdict check_slots(const SnapshotView& view, const linimo_pool& pool, const std::byte* source,
                    HeldTable& held) {
  const auto slots = view.slots(pool);
  const auto offset =
      static_cast<uint64_t>(reinterpret_cast<const std::byte*>(slots.data()) - view.bytes().data());
  if (source != nullptr) source += offset;
  const bool in_place = source != nullptr && held.offset == offset && held.size == pool.table_size &&
                        held.checksum == pool.slots_checksum;
  if (in_place) {
    held.checksum = XXH3_64bits(source, slots.size_bytes());
  } else {
    held = take_slots(slots, offset, source);
  }
  if (held.checksum != pool.slots_checksum)
    return wrong("checksum of pool {}'s slots does not match", pool.name);
  if (held.highest > pool.backend_count)
    return wrong("slot of backend {} among {}", held.highest - 1, pool.backend_count);
  return std::nullopt;
}

Verdict check_unsettled(const SnapshotView& view, const linimo_pool& pool) {
  uint64_t next = 0;
  for (const linimo_unsettled& record : view.unsettled(pool)) {
    if (record.slot < next || record.slot >= pool.table_size)
      return wrong("unsettled slot {} of pool {}", record.slot, pool.name);
    next = uint64_t{record.slot} + 1;
    if (record.base >= pool.backend_count)
      return wrong("base {} of slot {} among {} backends", record.base, record.slot, pool.backend_count);
    if (record.learning_s > LINIMO_MAX_IDLE_TIMEOUT_S)
      return wrong("slot {} learning for {} s", record.slot, record.learning_s);
  }
  return std::nullopt;
}

Verdict check_pools(const SnapshotView& view, const std::byte* source, HeldTables& held) {
  held.resize(view.pools().size());
  std::vector<bool> seen(LINIMO_MAX_BACKEND_IDS);
  uint64_t next_slot = 0;
  uint64_t next_backend = 0;
  uint64_t next_unsettled = 0;
  for (size_t p = 0; p < view.pools().size(); ++p) {
    const linimo_pool& pool = view.pools()[p];
    if (!terminated(pool.name)) return "pool name without an end";
    if (pool.encapsulation >= LINIMO_ENCAP_COUNT) return wrong("encapsulation {}", pool.encapsulation);
    if ((pool.encapsulation == LINIMO_ENCAP_GUE) != (pool.gue_port != 0))
      return wrong("GUE port {} with encapsulation {}", pool.gue_port, pool.encapsulation);
    if (pool.server_id_length > LINIMO_MAX_SERVER_ID_LENGTH)
      return wrong("server ids of {} bytes", pool.server_id_length);
    if (pool.table_size == 0 || pool.table_size > LINIMO_MAX_TABLE_SIZE)
      return wrong("table of {} slots", pool.table_size);
    if (pool.backend_count > LINIMO_MAX_POOL_BACKENDS)
      return wrong("pool of {} backends", pool.backend_count);
    if (pool.slot_first != next_slot || !in_bounds(next_slot, pool.table_size, view.slots().size())) {
      return "pool's slots out of bounds";
    }
    next_slot += pool.table_size;
    if (pool.backend_first != next_backend ||
        !in_bounds(next_backend, pool.backend_count, view.backends().size())) {
      return "pool's backends out of bounds";
    }
    next_backend += pool.backend_count;
    if (pool.unsettled_first != next_unsettled ||
        !in_bounds(next_unsettled, pool.unsettled_count, view.unsettled().size())) {
      return "pool's unsettled slots out of bounds";
    }
    next_unsettled += pool.unsettled_count;
    if (auto error = check_unsettled(view, pool)) return error;
    if (auto error = check_backends(view, pool, seen)) return error;
    if (auto error = check_slots(view, pool, source, held[p])) return error;
  }
  // An engine looks backends up by id: one that no pool owns would go in with an id that nobody checked.
  if (next_backend != view.backends().size()) return "backends that belong to no pool";
  if (next_unsettled != view.unsettled().size()) return "unsettled slots that belong to no pool";
  if (next_slot != view.slots().size()) return "slots that belong to no pool";
  return std::nullopt;
}

Verdict check_node_pool(const SnapshotView& view) {
  const linimo_header& header = view.header();
  if (header.handlers_move > 1) return wrong("handlers that move: {}", header.handlers_move);
  if (header.node_pool == 0) return std::nullopt;
  if (header.node_pool > view.pools().size())
    return wrong("nodes in pool {} of {}", header.node_pool - 1, view.pools().size());
  if (view.node_pool()->encapsulation != LINIMO_ENCAP_GRE)
    return wrong("nodes behind encapsulation {}", view.node_pool()->encapsulation);
  for (const linimo_service& service : view.services()) {
    if (service.pool + 1U == header.node_pool) return wrong("service {} of the nodes' pool", service.name);
  }
  return std::nullopt;
}

}  // namespace

tl::expected<SnapshotView, std::string> SnapshotView::check(std::span<const std::byte> bytes,
                                                            const std::byte* source, HeldTables& held) {
  if (auto error = check_header(bytes)) return tl::unexpected(*error);
  const SnapshotView view(bytes);
  if (auto error = check_vips(view)) return tl::unexpected(*error);
  if (auto error = check_services(view)) return tl::unexpected(*error);
  if (auto error = check_pools(view, source, held)) return tl::unexpected(*error);
  if (auto error = check_node_pool(view)) return tl::unexpected(*error);
  return view;
}

void grow_older(std::span<std::byte> snapshot, std::chrono::seconds by) {
  auto& header = *reinterpret_cast<linimo_header*>(snapshot.data());
  const linimo_extent& extent = header.sections[LINIMO_SECTION_UNSETTLED];
  const std::span slots(reinterpret_cast<linimo_unsettled*>(snapshot.data() + extent.offset), extent.count);
  for (linimo_unsettled& slot : slots)
    slot.learning_s = static_cast<uint16_t>(std::max<int64_t>(slot.learning_s - by.count(), 0));
  header.checksum = checksum_of(snapshot.first(header.sections[LINIMO_SECTION_SLOTS].offset));
}

std::span<const linimo_backend> SnapshotView::members(const linimo_pool& pool) const {
  const auto all = backends(pool);
  const auto end = std::ranges::find_if(
      all, [](const linimo_backend& backend) { return !takes_slots(backend.state, backend.weight); });
  return {all.begin(), end};
}

tl::expected<SnapshotView, std::string> SnapshotView::validate(std::span<const std::byte> bytes) {
  HeldTables ignored;
  return check(bytes, nullptr, ignored);
}

tl::expected<SnapshotView, std::string> SnapshotView::copy(std::span<const std::byte> source,
                                                           std::byte* destination, HeldTables* held) {
  HeldTables tables;
  if (held != nullptr) tables.swap(*held);
  linimo_header header{};
  std::memcpy(&header, source.data(), std::min(sizeof header, source.size()));
  // Up to the slots, wherever the header says they are: whether that makes sense is checked on the copy.
  const uint64_t head = std::min<uint64_t>(header.sections[LINIMO_SECTION_SLOTS].offset, source.size());
  std::memcpy(destination, &header, std::min(sizeof header, source.size()));
  if (head > sizeof header) {
    std::memcpy(destination + sizeof header, source.data() + sizeof header, head - sizeof header);
  }
  auto view = check({destination, source.size()}, source.data(), tables);
  if (view && held != nullptr) *held = std::move(tables);
  return view;
}

}  // namespace linimo
