#include "dataplane/forward/generation.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include <netinet/in.h>

#include "maglev/rules/passing.h"

namespace linimo {
namespace {

/// The backends of a snapshot that is not validated yet, if it is a valid one.
size_t most_backends(std::span<const std::byte> snapshot) {
  if (snapshot.size() < sizeof(linimo_header)) return 0;
  linimo_header header;
  std::memcpy(&header, snapshot.data(), sizeof header);
  return std::min({size_t{header.sections[LINIMO_SECTION_BACKENDS].count},
                   snapshot.size() / sizeof(linimo_backend), size_t{LINIMO_MAX_BACKEND_IDS}});
}

std::vector<AddressWords> tunnel_ends(const linimo_header& header) {
  std::vector<AddressWords> ends;
  for (const linimo_addr& source : {header.encap_source4, header.encap_source6}) {
    const AddressWords address = AddressWords::v6(source.bytes);
    if (address != AddressWords{}) ends.push_back(address);
  }
  return ends;
}

std::vector<AddressWords> own_addresses(const linimo_header& header, std::span<const Address> hosts) {
  std::vector<AddressWords> own;
  for (const Address& address : hosts) own.push_back(AddressWords::v6(address.bytes.data()));
  for (const AddressWords& end : tunnel_ends(header)) own.push_back(end);
  return own;
}

}  // namespace

tl::expected<std::unique_ptr<const Generation>, std::string> Generation::compile(
    std::span<const std::byte> snapshot, const Allocate& allocate, std::span<const Address> host_addresses,
    const History& history) {
  const size_t targets_at = (snapshot.size() + alignof(Target) - 1) / alignof(Target) * alignof(Target);
  const size_t most_targets = most_backends(snapshot);
  Block block = allocate(targets_at + most_targets * sizeof(Target));
  if (!block.memory)
    return tl::unexpected<std::string>("no memory for " + std::to_string(snapshot.size()) + " bytes");
  const auto view = SnapshotView::copy(snapshot, block.memory.get(), block.held);
  if (!view) return tl::unexpected(view.error());
  const size_t backends = view->backends().size();
  if (backends > most_targets) return tl::unexpected<std::string>("the snapshot changed while it was read");
  auto* targets = reinterpret_cast<Target*>(block.memory.get() + targets_at);
  std::uninitialized_default_construct_n(targets, backends);
  return std::unique_ptr<const Generation>(
      new Generation(std::move(block.memory), *view, {targets, backends}, host_addresses, history));
}

Generation::Generation(Memory memory, const SnapshotView& view, std::span<Target> targets,
                       std::span<const Address> host_addresses, const History& history)
    : memory_(std::move(memory)),
      view_(view),
      seed_(view.header().hash_seed),
      vips_(view.vips()),
      exact_(view.vips(), view.rules(), view.services()),
      own_addresses_(own_addresses(view.header(), host_addresses)),
      host_addresses_(host_addresses.size()),
      suspects_(view.vips(), own_addresses_),
      backend_addresses_(view.backends().size()),
      tunnel_ends_(tunnel_ends(view.header())),
      targets_(targets) {
  const Address source4 = Address::from_abi(view.header().encap_source4);
  const Address source6 = Address::from_abi(view.header().encap_source6);
  uint32_t highest_id = 0;
  for (const linimo_backend& backend : view.backends()) highest_id = std::max(highest_id, backend.id);
  known_.resize(highest_id + 1);

  for (uint32_t p = 0; p < view.pools().size(); ++p) {
    const linimo_pool& pool = view.pools()[p];
    for (uint32_t b = pool.backend_first; b < pool.backend_first + pool.backend_count; ++b) {
      const linimo_backend& backend = view.backends()[b];
      const Address address = Address::from_abi(backend.address);
      const bool is_node = &pool == view.node_pool();
      if (!is_node) backend_addresses_.add(AddressWords::v6(backend.address.bytes));
      // Nodes know each other by their addresses, all bits of them.
      const packet::TunnelEnds ends{address.is_v4() ? source4 : source6, address,
                                    is_node           ? 128
                                    : address.is_v4() ? view.header().encap_prefix4
                                                      : view.header().encap_prefix6};
      targets_[b] = {.way = 0,
                     .plain_mtu = 0,
                     .backend_id = backend.id,
                     .tunnel = packet::make_tunnel(static_cast<linimo_encapsulation>(pool.encapsulation),
                                                   ends, pool.gue_port),
                     .pool = p,
                     .alive = backend.state != LINIMO_BACKEND_DOWN,
                     .takes_new_flows = backend.state == LINIMO_BACKEND_UP && backend.weight != 0};
      known_[backend.id] = {b, targets_[b].alive ? p : Known::kNone};
      if (pool.server_id_length != 0) server_ids_.push_back({p, backend.server_id, &targets_[b]});
    }
  }

  std::sort(server_ids_.begin(), server_ids_.end(), [](const ServerId& a, const ServerId& b) {
    return std::pair(a.pool, a.id) < std::pair(b.pool, b.id);
  });

  make_unsettled(history);
  swept_services_.resize(LINIMO_MAX_SERVICES);
  for (const linimo_service& service : view.services()) {
    const linimo_pool& pool = view.pools()[service.pool];
    if (keeps_state(service.scheduler)) {
      schedules_.push_back(std::make_unique<Schedule>(static_cast<linimo_scheduler>(service.scheduler),
                                                      view.members(pool), view.slots(pool)));
    }
    const bool tracked = service.tracking == LINIMO_TRACKING_FULL;
    const uint8_t server_id_length = service.quic != 0 ? pool.server_id_length : uint8_t{0};
    services_.push_back(
        {.slots = view.slots(pool).data(),
         .targets = targets_.data() + pool.backend_first,
         .unsettled = service.tracking == LINIMO_TRACKING_ADAPTIVE ? unsettled_[service.pool].get() : nullptr,
         .schedule = keeps_state(service.scheduler) ? schedules_.back().get() : nullptr,
         .table_size = pool.table_size,
         .pool = service.pool,
         .tracking_key = {service.id, service.idle_timeout_s},
         .source_first = service.source_first,
         .source_count = service.source_count,
         .tracked = tracked,
         .decider = server_id_length != 0 ? Decider::kConnections
                    : tracked             ? Decider::kEntry
                                          : Decider::kTable,
         .source_hash = service.scheduler == LINIMO_SCHEDULER_SOURCE_HASH,
         .reject = service.no_backend == LINIMO_NO_BACKEND_REJECT,
         .server_id_offset = service.server_id_offset,
         .server_id_length = server_id_length,
         .shares_flows = service.shares_flows != 0});
    if (service.tracking != LINIMO_TRACKING_OFF) {
      swept_services_[service.id] = {static_cast<uint16_t>(service.idle_timeout_s),
                                     service.protocol == IPPROTO_TCP};
    }
  }
  service_by_id_.resize(LINIMO_MAX_SERVICES);
  for (const ServiceView& service : services_) service_by_id_[service.tracking_key.id] = &service;
  for (const linimo_source& source : view.sources()) {
    const AddressWords address = AddressWords::v6(source.address.bytes);
    sources_.push_back(
        {address, mask_words(source.prefix_length), source.prefix_length >= 96 && address.is_v4()});
  }
  take_other_nodes();
  lane_tables_ = {exact_.places4(), exact_.places6(), &suspects_,      services_.data(),
                  known_.data(),    known_.size(),    targets_.data(), flow_hash_words(seed_)};
}

void Generation::take_other_nodes() {
  const linimo_pool* pool = view_.node_pool();
  if (pool == nullptr) return;
  other_nodes_.slots = view_.slots(*pool).data();
  other_nodes_.targets = targets_.data() + pool->backend_first;
  other_nodes_.table_size = pool->table_size;
  other_nodes_.pool = static_cast<uint32_t>(pool - view_.pools().data());
  other_nodes_.tracking_key = {LINIMO_PASSED_SERVICE, 1};
}

bool Generation::is_other_node(const AddressWords& address) const {
  const linimo_pool* pool = view_.node_pool();
  return pool != nullptr && std::ranges::any_of(view_.backends(*pool), [&](const linimo_backend& node) {
           return AddressWords::v6(node.address.bytes) == address;
         });
}

void Generation::take_next_hops(const NextHopTable& next_hops) const {
  for (const linimo_backend& backend : view_.backends()) take_next_hop(next_hops, backend.id);
}

void Generation::take_next_hop(const NextHopTable& next_hops, uint32_t backend_id) const {
  if (target_of(backend_id) == nullptr) return;
  Target& target = targets_[known_[backend_id].target];
  const NextHopTable::Raw hop = next_hops.load(backend_id);
  const packet::Tunnel& tunnel = target.tunnel;
  const bool plain = hop.state() == NextHop::kResolved && hop.tags() == 0 && !tunnel.has_open_bits() &&
                     tunnel.encapsulation == LINIMO_ENCAP_IPIP;
  // Whoever reads both words between the two stores looks closer.
  if (!plain) std::atomic_ref(target.plain_mtu).store(0, std::memory_order_relaxed);
  std::atomic_ref(target.way).store(hop.way(), std::memory_order_release);
  if (plain) std::atomic_ref(target.plain_mtu).store(hop.mtu(), std::memory_order_release);
}

void Generation::make_unsettled(const History& history) {
  const std::vector<uint32_t> windows_s = adaptive_windows_s(view_);
  const Generation* last = history.before;
  const std::vector<size_t> were = last != nullptr ? pools_of_same_name(view_, last->view_)
                                                   : std::vector<size_t>(view_.pools().size(), kNoPool);
  for (size_t p = 0; p < windows_s.size(); ++p) {
    UnsettledSlots::Before was;
    if (were[p] != kNoPool)
      was = {last->unsettled_[were[p]].get(), &last->view_, &last->view_.pools()[were[p]]};
    unsettled_.push_back(
        UnsettledSlots::make(view_, view_.pools()[p], windows_s[p], history.workers, history.now_s, was));
  }
}

void Generation::take_stamps(const Generation& before) const {
  const std::vector<size_t> were = pools_of_same_name(view_, before.view_);
  for (size_t p = 0; p < unsettled_.size(); ++p) {
    if (unsettled_[p] != nullptr && were[p] != kNoPool && before.unsettled_[were[p]] != nullptr)
      unsettled_[p]->take_stamps(*before.unsettled_[were[p]]);
  }
}

void Generation::settle_slots(uint32_t now_s) const {
  for (const auto& unsettled : unsettled_) {
    if (unsettled != nullptr) unsettled->settle(now_s);
  }
}

const Target* Generation::target_of_server_id(const ServiceView& service, uint64_t id) const {
  const auto found = std::lower_bound(server_ids_.begin(), server_ids_.end(), std::pair(service.pool, id),
                                      [](const ServerId& entry, const std::pair<uint32_t, uint64_t>& wanted) {
                                        return std::pair(entry.pool, entry.id) < wanted;
                                      });
  const bool matches = found != server_ids_.end() && found->pool == service.pool && found->id == id;
  return matches ? found->target : nullptr;
}

bool Generation::is_listed(const ServiceView& service, const AddressWords& source) const {
  const auto allowed = std::span(sources_).subspan(service.source_first, service.source_count);
  return std::any_of(allowed.begin(), allowed.end(), [&](const SourceView& prefix) {
    return prefix.v4 == source.is_v4() && (source.high & prefix.mask.high) == prefix.address.high &&
           (source.low & prefix.mask.low) == prefix.address.low;
  });
}

bool Generation::is_host_address(const AddressWords& address) const {
  const auto hosts = std::span(own_addresses_).first(host_addresses_);
  return std::find(hosts.begin(), hosts.end(), address) != hosts.end();
}

bool Generation::is_own(const AddressWords& address) const {
  return std::find(own_addresses_.begin(), own_addresses_.end(), address) != own_addresses_.end();
}

}  // namespace linimo
