// A generation: one snapshot, made ready for forwarding. Immutable once compiled; workers switch from one to
// the next between two bursts.
//
// Compiling happens off the workers and copies the snapshot into memory of the data plane's own, so that
// nothing the controller does afterwards can reach what is being read.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/egress/next_hop.h"
#include "dataplane/flow/connection_table.h"
#include "dataplane/flow/unsettled_slots.h"
#include "dataplane/forward/address_set.h"
#include "dataplane/forward/scheduler.h"
#include "dataplane/forward/service_table.h"
#include "dataplane/forward/suspect_sources.h"
#include "dataplane/forward/vip_table.h"
#include "dataplane/packet/encapsulate.h"
#include "maglev/hash.h"
#include "maglev/snapshot.h"

namespace linimo {

/// A backend as the packet path needs it: one cache line. The path in lanes reads its first half, and so has
/// the next hop there, too: two words that the control thread writes while workers read them, each right by
/// itself, as in NextHopTable.
struct alignas(64) Target {
  uint64_t way;        // the next hop's, see linimo_next_hop
  uint32_t plain_mtu;  // for packets that only get a usual header in front; 0: look closer
  uint32_t backend_id;
  packet::Tunnel tunnel;
  uint32_t pool;
  bool alive;            // up or draining: keeps its tracked flows
  bool takes_new_flows;  // else only those
};
static_assert(sizeof(Target) == 64);

/// Who says where a packet goes.
enum class Decider : uint8_t {
  kTable,        // its flow's slot
  kEntry,        // its flow's entry in the connection table, if that is found
  kConnections,  // that, and what else may know better
  kNobody        // it is known
};

/// A service and its pool's table, so that no packet has to ask for both: one cache line.
struct alignas(64) ServiceView {
  const linimo_slot* slots;
  const Target* targets;      // of the pool
  UnsettledSlots* unsettled;  // of the pool, if the service tracks adaptively; null: all slots are settled
  const Schedule* schedule;   // of its new flows; null: the table says where they go
  uint32_t table_size;
  uint32_t pool;
  ConnectionTable::Service tracking_key;
  uint32_t source_first, source_count;
  bool tracked;     // in any case
  Decider decider;  // where the slot is settled
  bool source_hash;
  bool reject;               // what has no backend is answered
  uint8_t server_id_offset;  // in a QUIC connection id
  uint8_t server_id_length;  // 0: not QUIC
  bool shares_flows;         // nodes tell each other of flows on slots that are not settled

  bool is_settled(uint32_t slot) const { return unsettled == nullptr || !unsettled->contains(slot); }
  bool tracks(uint32_t slot) const { return tracked || !is_settled(slot); }  // linimo_is_tracked
};

static_assert(sizeof(ServiceView) == 64);

struct SourceView {
  AddressWords address, mask;
  bool v4;
};

/// What an entry of a connection table leads to: a backend by its id.
struct Known {
  static constexpr uint32_t kNone = ~uint32_t{0};
  uint32_t target = kNone;         // among all
  uint32_t pool_if_alive = kNone;  // else none
};

/// Where the path in lanes finds what it reads of a generation.
struct LaneTables {
  ServiceTable::Places4 services_of4;
  ServiceTable::Places6 services_of6;
  const SuspectSources* suspects;
  const ServiceView* services;
  const Known* known;  // by backend id
  uint64_t known_count;
  const Target* targets;
  FlowHashWords hash;
};

class Generation {
 public:
  /// Memory for the copy of a snapshot: zeroed or not, 64-byte aligned, freed by its deleter.
  using Memory = std::shared_ptr<std::byte>;

  /// Memory and what an earlier generation left in it (SnapshotView::copy), if that is known.
  struct Block {
    Block(Memory fresh) : memory(std::move(fresh)) {}  // NOLINT: fresh memory is a block that holds nothing
    Block(Memory used, HeldTables& tables) : memory(std::move(used)), held(&tables) {}

    Memory memory;
    HeldTables* held = nullptr;
  };
  using Allocate = std::function<Block(size_t bytes)>;

  /// What goes on from one generation to the next.
  struct History {
    const Generation* before = nullptr;
    uint32_t workers = 1;
    uint32_t now_s = 0;  // of the workers' clock
  };

  /// `host_addresses`: the machine's own, sorted. The error says why the snapshot was refused.
  static tl::expected<std::unique_ptr<const Generation>, std::string> compile(
      std::span<const std::byte> snapshot, const Allocate& allocate, std::span<const Address> host_addresses,
      const History& history);

  /// Control thread, once every worker has left the generation before this one.
  void take_stamps(const Generation& before) const;
  /// Control thread, about once a second.
  void settle_slots(uint32_t now_s) const;
  /// Control thread, before the generation is published, and whenever a next hop changes afterwards.
  void take_next_hops(const NextHopTable& next_hops) const;
  void take_next_hop(const NextHopTable& next_hops, uint32_t backend_id) const;

  const SnapshotView& snapshot() const { return view_; }
  uint64_t number() const { return view_.header().generation; }
  uint64_t seed() const { return seed_; }
  const VipTable& vips() const { return vips_; }

  /// The rule of a VIP that a port is in, or nullptr. `port` in host byte order.
  const linimo_rule* rule(uint32_t vip, uint8_t protocol, uint16_t port) const {
    const linimo_vip& entry = view_.vips()[vip];
    const linimo_rule* low = view_.rules().data() + entry.rule_first;
    const linimo_rule* const end = low + entry.rule_count;
    const uint32_t wanted = uint32_t{protocol} << 16 | port;
    for (uint32_t count = entry.rule_count; count > 0;) {  // the first rule that does not end before the port
      const uint32_t half = count / 2;
      const uint32_t last = uint32_t{low[half].protocol} << 16 | low[half].port_last;
      low += last < wanted ? half + 1 : 0;
      count = last < wanted ? count - half - 1 : half;
    }
    const bool matches = low != end && low->protocol == protocol && low->port_first <= port;
    return matches ? low : nullptr;
  }

  /// The service that it belongs to, or nullptr.
  const ServiceView* service(uint32_t vip, uint8_t protocol, uint16_t port) const {
    const linimo_rule* found = rule(vip, protocol, port);
    return found != nullptr ? &services_[found->service] : nullptr;
  }

  /// The service of a packet as packet::read_plain found it. nullptr: nothing is known, judge and ask the
  /// others. `port`: the destination, in network byte order.
  template <bool kV6>
  const ServiceView* service_of_plain(const uint8_t* ip, uint16_t port, uint8_t protocol) const {
    uint32_t found;
    if constexpr (kV6) {
      const auto& header = *reinterpret_cast<const packet::Ipv6*>(ip);
      if (suspects_.contains_v6(AddressWords::v6(header.source))) [[unlikely]]
        return nullptr;
      found = exact_.find_v6(AddressWords::v6(header.destination), port, protocol);
    } else {
      const auto& header = *reinterpret_cast<const packet::Ipv4*>(ip);
      if (suspects_.contains_v4(header.source)) [[unlikely]]
        return nullptr;
      found = exact_.find_v4(header.destination, port, protocol);
    }
    return found == ServiceTable::kNone ? nullptr : &services_[found];
  }
  /// nullptr: there is none.
  const ServiceView* service_of_id(uint32_t id) const {
    return id < service_by_id_.size() ? service_by_id_[id] : nullptr;
  }

  const Target* target_of(uint32_t backend_id) const {
    const bool known = backend_id < known_.size() && known_[backend_id].target != Known::kNone;
    return known ? &targets_[known_[backend_id].target] : nullptr;
  }
  /// The backend of a QUIC service that has a server id, or nullptr.
  const Target* target_of_server_id(const ServiceView& service, uint64_t id) const;
  bool allows(const ServiceView& service, const AddressWords& source) const {
    return service.source_count == 0 || is_listed(service, source);
  }
  /// The fleet's other nodes as a service whose table says which of them handles a datagram's fragments:
  /// where there is no backend, this node does. Without slots where there are no others.
  const ServiceView& other_nodes() const { return other_nodes_; }
  bool is_other_node(const AddressWords& address) const;
  bool is_node(const Target& target) const {
    return other_nodes_.slots != nullptr && target.pool == other_nodes_.pool;
  }
  /// Nodes may differ in who handles what: they tell each other of datagrams.
  bool handlers_move() const { return view_.header().handlers_move != 0; }
  /// One that other nodes' tunnels lead to.
  bool is_tunnel_end(const AddressWords& address) const {
    return std::ranges::find(tunnel_ends_, address) != tunnel_ends_.end();
  }

  bool is_host_address(const AddressWords& address) const;
  /// A source that nobody may come from: a VIP, or an address of this node. IPv6 on the wire may look like
  /// IPv4 in the snapshot, but `packet::judge` lets no such source pass.
  bool is_impostor(const AddressWords& source, bool v6) const {
    return suspects_.contains(source, v6) && (vips_.find(source) != VipTable::kNone || is_own(source));
  }

  /// Who may have sent an answer to a health check: a backend, or through its tunnel a VIP.
  bool may_answer_checks(const AddressWords& source) const {
    return backend_addresses_.contains(source) || vips_.find(source) != VipTable::kNone;
  }

  /// All of it that the path in lanes reads.
  const LaneTables& lane_tables() const { return lane_tables_; }

  /// By service id, for the sweep of connection tables.
  std::span<const SweptService> swept_services() const { return swept_services_; }

 private:
  struct ServerId {
    uint32_t pool;
    uint64_t id;
    const Target* target;
  };

  Generation(Memory memory, const SnapshotView& view, std::span<Target> targets,
             std::span<const Address> host_addresses, const History& history);
  void make_unsettled(const History& history);
  void take_other_nodes();
  bool is_listed(const ServiceView& service, const AddressWords& source) const;
  bool is_own(const AddressWords& address) const;

  Memory memory_;  // of the snapshot, and behind it the targets
  SnapshotView view_;
  uint64_t seed_;
  VipTable vips_;
  ServiceTable exact_;
  std::vector<AddressWords> own_addresses_;  // the host's, then those that tunnels begin at
  size_t host_addresses_ = 0;
  SuspectSources suspects_;
  AddressSet backend_addresses_;
  std::vector<AddressWords> tunnel_ends_;
  std::vector<std::unique_ptr<UnsettledSlots>> unsettled_;  // by pool; null where all are settled
  std::vector<std::unique_ptr<const Schedule>> schedules_;
  std::vector<ServiceView> services_;
  std::vector<const ServiceView*> service_by_id_;
  std::vector<SourceView> sources_;
  ServiceView other_nodes_{};
  std::span<Target> targets_;
  std::vector<Known> known_;          // by backend id; at least one
  std::vector<ServerId> server_ids_;  // by pool and id
  std::vector<SweptService> swept_services_;
  LaneTables lane_tables_;
};

}  // namespace linimo
