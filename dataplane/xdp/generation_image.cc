#include "dataplane/xdp/generation_image.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include <fmt/format.h>
#include <netinet/in.h>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/headers.h"
#include "dataplane/xdp/ticks.h"
#include "maglev/address_words.h"
#include "maglev/hash.h"
#include "maglev/rules/address.h"
#include "maglev/rules/tunnel.h"

namespace linimo::xdp {
namespace {

constexpr size_t kSources = 2;  // of tunnels, one of each family

template <typename Record>
constexpr uint32_t cells_for(uint64_t records) {
  static_assert(sizeof(linimo_cell) % sizeof(Record) == 0);
  constexpr uint64_t kPerCell = sizeof(linimo_cell) / sizeof(Record);
  return static_cast<uint32_t>((records + kPerCell - 1) / kPerCell);
}

class Compiler {
 public:
  Compiler(const SnapshotView& view, const ImagePlan& plan, std::span<linimo_cell> cells)
      : view_(view), plan_(plan), cells_(cells) {}

  tl::expected<CompiledImage, std::string> run(std::span<const Address> hosts) {
    head_.size = view_.header().size;
    head_.rules = offset_of(view_.rules().data());
    head_.reply_rate = view_.header().reply_rate;
    mix_seed();
    make_filter(hosts);
    if (!add_vips())
      return tl::unexpected<std::string>("more prefix lengths or rules of a VIP than XDP can hold");
    add_sources();
    add_targets();
    add_nodes();
    add_services();
    add_hosts(hosts);
    return CompiledImage{head_, crowded_};
  }

 private:
  template <typename Record>
  Record* records(uint32_t first_cell) {
    return reinterpret_cast<Record*>(&cells_[first_cell]);
  }
  uint64_t offset_of(const void* in_snapshot) const {
    return static_cast<uint64_t>(static_cast<const std::byte*>(in_snapshot) - view_.bytes().data());
  }

  void mix_seed() {
    const FlowHashWords words = flow_hash_words(view_.header().hash_seed);
    std::copy(std::begin(words.key4), std::end(words.key4), head_.key4_mix);
    std::copy(std::begin(words.key6), std::end(words.key6), head_.key6_mix);
  }

  static bool is_v4(const linimo_vip& vip) {
    return vip.prefix_length >= 96 && AddressWords::v6(vip.address.bytes).is_v4();
  }

  /// One in 64 of the filters' bits is set at most, while they are not as large as they may be.
  void make_filter(std::span<const Address> hosts) {
    AddressWords shortest[2];  // IPv6, IPv4
    for (const linimo_vip& vip : view_.vips()) shortest[is_v4(vip)] = mask_words(vip.prefix_length);
    head_.filter_mask4 = shortest[true].low;
    head_.filter_mask6[0] = shortest[false].high;
    head_.filter_mask6[1] = shortest[false].low;
    const uint64_t bits = std::min<uint64_t>(
        std::bit_ceil(64 * (view_.vips().size() + hosts.size() + kSources)), LINIMO_MAX_FILTER_BITS);
    head_.filter_shift = static_cast<uint32_t>(64 - std::countr_zero(bits));
    const auto add = [&](__u64* filter, const AddressWords& address, bool v4) {
      const AddressWords& mask = shortest[v4];
      const uint64_t bit = linimo_xdp_filter_bit(v4 ? 0 : address.high & mask.high, address.low & mask.low,
                                                 head_.filter_shift);
      filter[bit / 64] |= uint64_t{1} << bit % 64;
    };
    for (const linimo_vip& vip : view_.vips())
      add(head_.filter, AddressWords::v6(vip.address.bytes), is_v4(vip));
    std::copy(std::begin(head_.filter), std::end(head_.filter), head_.source_filter);
    for (const linimo_addr& own : own_addresses(hosts)) {
      const AddressWords address = AddressWords::v6(own.bytes);
      add(head_.source_filter, address, address.is_v4());
    }
  }

  /// Behind the targets.
  void add_nodes() {
    const linimo_pool* pool = view_.node_pool();
    if (pool == nullptr) return;
    head_.node_slots = offset_of(view_.slots(*pool).data());
    head_.node_table_size = pool->table_size;
    head_.node_target_first = plan_.target_first + pool->backend_first;
    head_.node_count = pool->backend_count;
    head_.handlers_move = view_.header().handlers_move;
    head_.tunnel_end4 = AddressWords::v6(view_.header().encap_source4.bytes).low;
    const AddressWords end6 = AddressWords::v6(view_.header().encap_source6.bytes);
    head_.tunnel_end6[0] = end6.high;
    head_.tunnel_end6[1] = end6.low;
  }

  /// The host's, then those that tunnels begin at.
  std::vector<linimo_addr> own_addresses(std::span<const Address> hosts) const {
    std::vector<linimo_addr> own;
    for (const Address& host : hosts) own.push_back(host.to_abi());
    for (const linimo_addr& source : {view_.header().encap_source4, view_.header().encap_source6}) {
      if (AddressWords::v6(source.bytes) != AddressWords{}) own.push_back(source);
    }
    return own;
  }

  bool add_vips() {
    head_.vip_first = plan_.vip_first;
    head_.vip_mask = plan_.vip_cells - 1;
    auto* places = records<linimo_xdp_vip>(plan_.vip_first);
    for (uint32_t i = 0; i < plan_.vip_cells; ++i) places[i].bits = LINIMO_EMPTY_VIP;
    for (const linimo_vip& vip : view_.vips()) {
      const AddressWords address = AddressWords::v6(vip.address.bytes);
      if (vip.rule_count >= 1U << 24 || !add_length(vip.prefix_length, is_v4(vip))) return false;
      linimo_xdp_vip entry{.high = address.high,
                           .low = address.low,
                           .rule_first = vip.rule_first,
                           .rule_count = vip.rule_count & 0xffffff,
                           .bits = vip.prefix_length & 0xff,
                           .rules = {}};
      std::fill(std::begin(entry.rules), std::end(entry.rules), ~uint64_t{0});
      if (vip.rule_count <= std::size(entry.rules))
        std::memcpy(entry.rules, &view_.rules()[vip.rule_first], vip.rule_count * sizeof(linimo_rule));
      if (!place_vip(places, entry)) crowded_ = true;
    }
    return true;
  }

  bool add_length(uint32_t bits, bool v4) {  // VIPs come sorted, longest first
    uint8_t* lengths = v4 ? head_.lengths4 : head_.lengths6;
    uint8_t& count = v4 ? head_.lengths4_count : head_.lengths6_count;
    if (count != 0 && lengths[count - 1] == bits) return true;
    if (count == (v4 ? std::size(head_.lengths4) : std::size(head_.lengths6))) return false;
    lengths[count++] = static_cast<uint8_t>(bits);
    return true;
  }

  bool place_vip(linimo_xdp_vip* places, const linimo_xdp_vip& entry) {
    // As in bpf/tables.h.
    const auto start = static_cast<uint32_t>(linimo_place_of_vip(entry.high, entry.low, entry.bits));
    for (uint32_t probe = 0; probe < LINIMO_VIP_PROBES; ++probe) {
      linimo_xdp_vip& place = places[(start + probe) & head_.vip_mask];
      if (place.bits != LINIMO_EMPTY_VIP) continue;
      place = entry;
      return true;
    }
    return false;
  }

  void add_sources() {
    head_.source_first = plan_.source_first;
    auto* out = records<linimo_xdp_source>(plan_.source_first);
    for (const linimo_source& source : view_.sources()) {
      const AddressWords address = AddressWords::v6(source.address.bytes);
      *out++ = {.high = address.high,
                .low = address.low,
                .bits = source.prefix_length,
                .v4 = source.prefix_length >= 96 && address.is_v4(),
                .reserved = 0};
    }
  }

  void add_targets() {
    head_.target_of_id_first = plan_.target_of_id_first;
    auto* by_id = records<uint32_t>(plan_.target_of_id_first);
    auto* server_ids = records<linimo_xdp_server_id>(plan_.server_id_first);
    auto* parts = records<uint64_t>(plan_.part_first);
    head_.server_id_first = plan_.server_id_first;
    head_.part_first = plan_.part_first;
    for (uint32_t p = 0; p < view_.pools().size(); ++p) {
      const linimo_pool& pool = view_.pools()[p];
      uint64_t end = 0;
      for (uint32_t b = pool.backend_first; b < pool.backend_first + pool.backend_count; ++b) {
        const linimo_backend& backend = view_.backends()[b];
        *records<linimo_xdp_target>(plan_.target_first + b) = target_of(pool, p, backend);
        by_id[backend.id] = plan_.target_first + b;
        head_.target_of_id_count = std::max(head_.target_of_id_count, backend.id + 1);
        parts[b] = end += backend.weight;
        server_ids[b] = {.id = backend.server_id, .target = plan_.target_first + b, .reserved = 0};
      }
      std::sort(server_ids + pool.backend_first, server_ids + pool.backend_first + pool.backend_count,
                [](const auto& a, const auto& b) { return a.id < b.id; });
    }
  }

  linimo_xdp_target target_of(const linimo_pool& pool, uint32_t index, const linimo_backend& backend) const {
    const bool v4 = Address::from_abi(backend.address).is_v4();
    const linimo_header& header = view_.header();
    const linimo_addr& source = v4 ? header.encap_source4 : header.encap_source6;
    linimo_xdp_target target{};
    // Nodes know each other by their addresses, all bits of them.
    target.source_hash_mask =
        &pool == view_.node_pool() ? 0 : linimo_open_bits(v4 ? header.encap_prefix4 : header.encap_prefix6);
    uint64_t low = 0;
    std::memcpy(&low, source.bytes + 8, 8);
    low &= ~__builtin_bswap64(target.source_hash_mask);  // those that the flow hash replaces
    std::memcpy(target.source, source.bytes, 8);
    std::memcpy(target.source + 2, &low, 8);
    std::memcpy(target.destination, backend.address.bytes, 16);
    target.backend_id = backend.id;
    target.weight = backend.weight;
    target.pool = index;
    target.gue_port = packet::swap16(pool.gue_port);
    target.encapsulation = pool.encapsulation;
    target.outer_v6 = !v4;
    target.alive = backend.state == LINIMO_BACKEND_DOWN                        ? LINIMO_XDP_DOWN
                   : backend.state == LINIMO_BACKEND_UP && backend.weight != 0 ? LINIMO_XDP_UP
                                                                               : LINIMO_XDP_NO_NEW_FLOWS;
    target.protocol4 = linimo_tunnel_protocol(pool.encapsulation, 0);
    target.protocol6 = linimo_tunnel_protocol(pool.encapsulation, 1);
    target.header_length = linimo_tunnel_overhead(pool.encapsulation, !v4);
    if (v4) {
      const uint64_t addresses[] = {target.source[3], target.destination[3]};
      target.checksum_base = packet::checksum_fold(addresses[0] + addresses[1]);
    }
    return target;
  }

  void add_services() {
    head_.service_first = plan_.service_first;
    auto* out = records<linimo_xdp_service>(plan_.service_first);
    for (const linimo_service& service : view_.services()) {
      const linimo_pool& pool = view_.pools()[service.pool];
      head_.service_ids[service.id / 64] |= uint64_t{1} << service.id % 64;
      *out++ = {
          .slots = offset_of(view_.slots(pool).data()),
          .table_size = pool.table_size,
          .pool = service.pool,
          .target_first = plan_.target_first + pool.backend_first,
          .target_count = pool.backend_count,
          .source_first = service.source_first,
          .source_count = service.source_count,
          .id = service.id,
          .idle_ticks = ticks_within(service.idle_timeout_s),
          .backend_first = pool.backend_first,
          .unsettled = 0,  // as long as nobody says otherwise
          .tracked = service.tracking == LINIMO_TRACKING_FULL,
          .source_hash = service.scheduler == LINIMO_SCHEDULER_SOURCE_HASH,
          .reject = service.no_backend == LINIMO_NO_BACKEND_REJECT,
          .server_id_offset = service.server_id_offset,
          .server_id_length = service.quic != 0 ? pool.server_id_length : uint8_t{0},
          .scheduler = service.scheduler,
          .members = static_cast<uint16_t>(keeps_state(service.scheduler) ? view_.members(pool).size() : 0),
          .shares_flows = service.shares_flows,
          .reserved = {}};
    }
  }

  void add_hosts(std::span<const Address> hosts) {
    head_.host_first = plan_.host_first;
    head_.host_count = static_cast<uint32_t>(hosts.size());
    const std::vector<linimo_addr> own = own_addresses(hosts);
    head_.own_count = static_cast<uint32_t>(own.size());
    std::copy(own.begin(), own.end(), records<linimo_addr>(plan_.host_first));
  }

  const SnapshotView& view_;
  const ImagePlan& plan_;
  std::span<linimo_cell> cells_;
  linimo_xdp_head head_{};
  bool crowded_ = false;
};

}  // namespace

tl::expected<ImagePlan, std::string> plan_image(std::span<const std::byte> snapshot, size_t hosts,
                                                uint32_t growth) {
  if (snapshot.size() < sizeof(linimo_header))
    return tl::unexpected<std::string>("shorter than a snapshot's header");
  linimo_header header;
  std::memcpy(&header, snapshot.data(), sizeof header);
  const auto count = [&](linimo_section section) -> uint64_t { return header.sections[section].count; };
  for (const linimo_extent& extent : header.sections) {
    if (uint64_t{extent.count} * extent.record_size > snapshot.size())
      return tl::unexpected<std::string>("sections longer than the snapshot");
  }
  ImagePlan plan;
  plan.snapshot_bytes = snapshot.size();
  plan.services = static_cast<uint32_t>(count(LINIMO_SECTION_SERVICES));
  plan.sources = static_cast<uint32_t>(count(LINIMO_SECTION_SOURCES));
  plan.targets = static_cast<uint32_t>(count(LINIMO_SECTION_BACKENDS));
  plan.hosts = static_cast<uint32_t>(hosts);
  plan.vip_cells = static_cast<uint32_t>(std::bit_ceil(4 * count(LINIMO_SECTION_VIPS) + 4) << growth);
  uint64_t next = (snapshot.size() + sizeof(linimo_cell) - 1) / sizeof(linimo_cell);
  const auto place = [&next](uint32_t& first, uint64_t cells) {
    first = static_cast<uint32_t>(next);
    next += cells;
  };
  place(plan.vip_first, plan.vip_cells);
  place(plan.service_first, cells_for<linimo_xdp_service>(plan.services));
  place(plan.source_first, cells_for<linimo_xdp_source>(plan.sources));
  place(plan.target_first, cells_for<linimo_xdp_target>(plan.targets));
  place(plan.server_id_first, cells_for<linimo_xdp_server_id>(plan.targets));
  place(plan.part_first, cells_for<uint64_t>(plan.targets));
  place(plan.target_of_id_first, cells_for<uint32_t>(LINIMO_MAX_BACKEND_IDS));
  place(plan.host_first, cells_for<linimo_addr>(hosts + kSources));
  constexpr uint64_t kMost = uint64_t{LINIMO_IMAGE_PAGES} * LINIMO_PAGE_CELLS;
  if (next > kMost)
    return tl::unexpected(
        fmt::format("the tables take {} MB; this engine has room for {}: make table_size smaller",
                    next * sizeof(linimo_cell) >> 20, kMost * sizeof(linimo_cell) >> 20));
  plan.cells = next;
  return plan;
}

tl::expected<CompiledImage, std::string> compile_image(std::span<const std::byte> snapshot,
                                                       std::span<const Address> hosts, const ImagePlan& plan,
                                                       std::span<linimo_cell> cells, HeldTables& held) {
  if (snapshot.size() != plan.snapshot_bytes || hosts.size() != plan.hosts || cells.size() < plan.cells)
    return tl::unexpected<std::string>("not what was planned for");
  const auto view = SnapshotView::copy(snapshot, reinterpret_cast<std::byte*>(cells.data()), &held);
  if (!view) return tl::unexpected(view.error());
  if (view->services().size() != plan.services || view->sources().size() != plan.sources ||
      view->backends().size() != plan.targets || 4 * view->vips().size() + 4 > plan.vip_cells) {
    return tl::unexpected<std::string>("changed while it was read");
  }
  return Compiler(*view, plan, cells).run(hosts);
}

}  // namespace linimo::xdp
