// Building and reading snapshots (the layout is in abi.h).
//
// The control plane describes what it wants in a SnapshotSpec and gets the bytes; a data plane validates the
// bytes once and then reads them through a SnapshotView without any further check. Both are pure functions of
// their input: no files, no sockets, any thread.
//
//   std::vector<std::byte> bytes = build_snapshot(spec);
//   auto view = SnapshotView::validate(bytes);            // tl::expected: the view, or why it was refused
//   for (const linimo_service& service : view->services()) ...
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/abi.h"
#include "maglev/address.h"
#include "maglev/table.h"

namespace linimo {

/// Whether a choice depends on those before it, so that every flow's must be remembered.
constexpr bool keeps_state(uint32_t scheduler) {
  return scheduler >= LINIMO_SCHEDULER_ROUND_ROBIN;
}

struct PortRange {
  uint16_t first = 0;  // host byte order, both ends included; 0 to 65535 is "any"
  uint16_t last = 65535;

  auto operator<=>(const PortRange&) const = default;
};

/// Only a backend that is up and has weight takes slots.
constexpr bool takes_slots(uint32_t state, uint32_t weight) {
  return state == LINIMO_BACKEND_UP && weight != 0;
}

struct BackendSpec {
  Address address;
  uint32_t id = 0;
  uint32_t weight = 1;  // 0: takes no slot
  linimo_backend_state state = LINIMO_BACKEND_UP;
  uint64_t server_id = 0;  // of PoolSpec::server_id_length bytes, big-endian

  bool takes_slots() const { return linimo::takes_slots(state, weight); }

  /// The order in a snapshot: those that take slots first, each part by address.
  bool stands_before(const BackendSpec& other) const {
    return std::pair(!takes_slots(), address) < std::pair(!other.takes_slots(), other.address);
  }
};

/// A pool's table, shared between generations that did not change it: populating costs more than all the
/// rest.
struct PoolTable {
  std::vector<TableMember> members;  // sorted
  std::vector<linimo_slot> slots;
  uint64_t slots_checksum = 0;
  uint64_t digest = 0;
};

/// Those that take slots, sorted as a table wants them.
std::vector<TableMember> members_of(std::span<const BackendSpec> backends);

/// The members are the backends that take slots, in any order.
std::shared_ptr<const PoolTable> make_pool_table(std::span<const BackendSpec> backends, uint32_t table_size);

/// The table of which node handles a datagram's fragments: in its slots this node is LINIMO_NO_BACKEND, and
/// no member. `others`: takes slots, each with weight 1; any order. `self`: nothing where this node handles
/// none.
std::shared_ptr<const PoolTable> make_handler_table(std::span<const BackendSpec> others,
                                                    const std::optional<Address>& self, uint32_t table_size);

/// A slot that is not settled (linimo_unsettled).
struct UnsettledSpec {
  uint32_t slot;
  Address base;         // of a backend of the pool
  uint16_t learning_s;  // left
};

struct PoolSpec {
  std::string name;  // shorter than LINIMO_NAME_SIZE
  linimo_encapsulation encapsulation = LINIMO_ENCAP_IPIP;
  uint16_t gue_port = LINIMO_GUE_PORT;     // host byte order; of GUE only
  uint8_t server_id_length = 0;            // bytes; 0: the backends have no server ids
  std::vector<BackendSpec> backends;       // addresses and ids unique; any order, a snapshot's being quickest
  std::shared_ptr<const PoolTable> table;  // made from these backends
  std::vector<UnsettledSpec> unsettled = {};  // by slot
};

struct ServiceSpec {
  std::string name;
  uint32_t id = 0;    // < LINIMO_MAX_SERVICES, unique
  uint32_t pool = 0;  // index
  uint8_t protocol = 6;
  linimo_tracking tracking = LINIMO_TRACKING_FULL;  // always, where the scheduler keeps state
  linimo_no_backend no_backend = LINIMO_NO_BACKEND_DROP;
  linimo_scheduler scheduler = LINIMO_SCHEDULER_MAGLEV;
  bool quic = false;
  uint8_t server_id_offset = 1;
  uint32_t idle_timeout_s = 900;
  bool shares_flows = false;  // nodes tell each other of flows (rules/sharing.h); where tracking is adaptive
  std::vector<Prefix> vips;
  std::vector<PortRange> ports;
  std::vector<Prefix> allow_sources;  // empty: everyone
};

struct SnapshotSpec {
  uint64_t generation = 1;
  uint64_t hash_seed = 0;
  Address encap_source4;  // zero: none
  Address encap_source6;
  uint32_t encap_prefix4 = 128;  // of the 128-bit form, as in linimo_header
  uint32_t encap_prefix6 = 128;
  uint32_t reply_rate = 0;
  uint32_t announce_table = 0;     // 0: nothing is announced
  uint32_t orphan_timeout_ms = 0;  // 0: routes outlive the control plane for ever
  /// The last one may be of the fleet's other nodes: encapsulation GRE, make_handler_table().
  std::vector<PoolSpec> pools;
  bool has_node_pool = false;
  bool handlers_move = false;
  std::vector<ServiceSpec> services;

  /// Those by whose tables services choose.
  std::span<const PoolSpec> service_pools() const {
    return std::span(pools).first(pools.size() - (has_node_pool ? 1 : 0));
  }
};

/// The bytes of a snapshot. The specification must keep the promises noted on its members (the configuration
/// checks them with better words); two services may not claim the same (VIP prefix, protocol, port range).
std::vector<std::byte> build_snapshot(const SnapshotSpec& spec);

/// The same into memory that is there already: fresh pages would cost more than filling them does. `bytes` is
/// empty or what an earlier call left; tables that it holds in their places are not copied again.
void build_snapshot(const SnapshotSpec& spec, std::vector<std::byte>& bytes);

/// A snapshot's head: all that lies before its slots, their checksums among it. Of a valid snapshot.
std::span<const std::byte> head_of(std::span<const std::byte> snapshot);

/// Bytes [offset, offset + size) of a snapshot.
struct Stretch {
  size_t offset;
  size_t size;
};

/// Where the bytes of `next` may differ from those of an earlier snapshot of the same size, of which the head
/// suffices: tables are compared by their checksums. Both must be valid.
std::vector<Stretch> changed_stretches(std::span<const std::byte> earlier_head,
                                       std::span<const std::byte> next);

/// As if a snapshot had been live for so long: less is left of its slots' windows. `snapshot`: a valid one.
void grow_older(std::span<std::byte> snapshot, std::chrono::seconds by);

/// Of all tables that choose backends, whatever the order of their pools; the header carries it.
uint64_t snapshot_digest(const SnapshotSpec& spec);

/// A table that a block of memory has held since a snapshot was copied into it.
struct HeldTable {
  uint64_t offset;    // in bytes, from the block's start
  uint64_t checksum;  // of its slots, as they were hashed in this block
  uint32_t size;      // slots
  uint16_t highest;   // one more than the highest index of a backend among them; 0: none
};

/// By pool. Only SnapshotView::copy writes it; it goes with its block, into which nobody else may write, but
/// behind the snapshot.
using HeldTables = std::vector<HeldTable>;

class SnapshotView {
 public:
  /// Checks everything a reader relies on: version, checksums, every index, offset, count, name and
  /// enumerator. `bytes` must be 8-byte aligned, must outlive the view and must not change under it: copy
  /// what came from another process before validating it. The error says what was wrong, for a log.
  static tl::expected<SnapshotView, std::string> validate(std::span<const std::byte> bytes);

  /// Copies a snapshot to 8-byte aligned memory of at least its size and validates the copy, in one pass over
  /// the memory: a table is checked while it is still in the cache. `source` may change meanwhile without
  /// harm.
  ///
  /// `held`, if given: what earlier calls left in this destination; empty at first. A table that is there
  /// already is hashed where it comes from, so that nothing changed passes, and not copied.
  static tl::expected<SnapshotView, std::string> copy(std::span<const std::byte> source,
                                                      std::byte* destination, HeldTables* held = nullptr);

  /// Without a check: of bytes that were validated before, or built here.
  static SnapshotView of_valid(std::span<const std::byte> bytes) { return SnapshotView(bytes); }

  const linimo_header& header() const { return *reinterpret_cast<const linimo_header*>(bytes_.data()); }
  std::span<const std::byte> bytes() const { return bytes_; }

  std::span<const linimo_vip> vips() const { return section<linimo_vip>(LINIMO_SECTION_VIPS); }
  std::span<const linimo_rule> rules() const { return section<linimo_rule>(LINIMO_SECTION_RULES); }
  std::span<const linimo_service> services() const {
    return section<linimo_service>(LINIMO_SECTION_SERVICES);
  }
  std::span<const linimo_source> sources() const { return section<linimo_source>(LINIMO_SECTION_SOURCES); }
  std::span<const linimo_pool> pools() const { return section<linimo_pool>(LINIMO_SECTION_POOLS); }
  std::span<const linimo_backend> backends() const {
    return section<linimo_backend>(LINIMO_SECTION_BACKENDS);
  }
  std::span<const linimo_unsettled> unsettled() const {
    return section<linimo_unsettled>(LINIMO_SECTION_UNSETTLED);
  }
  std::span<const linimo_slot> slots() const { return section<linimo_slot>(LINIMO_SECTION_SLOTS); }

  /// The one that stands for the fleet's other nodes, or nullptr.
  const linimo_pool* node_pool() const {
    return header().node_pool == 0 ? nullptr : &pools()[header().node_pool - 1];
  }
  std::span<const linimo_backend> backends(const linimo_pool& pool) const {
    return backends().subspan(pool.backend_first, pool.backend_count);
  }
  /// Those that take slots: the pool's first.
  std::span<const linimo_backend> members(const linimo_pool& pool) const;
  std::span<const linimo_unsettled> unsettled(const linimo_pool& pool) const {
    return unsettled().subspan(pool.unsettled_first, pool.unsettled_count);
  }
  std::span<const linimo_slot> slots(const linimo_pool& pool) const {
    return slots().subspan(pool.slot_first, pool.table_size);
  }

 private:
  explicit SnapshotView(std::span<const std::byte> bytes) : bytes_(bytes) {}
  static tl::expected<SnapshotView, std::string> check(std::span<const std::byte> bytes,
                                                       const std::byte* source, HeldTables& held);

  template <typename Record>
  std::span<const Record> section(linimo_section which) const {
    const linimo_extent& extent = header().sections[which];
    return {reinterpret_cast<const Record*>(bytes_.data() + extent.offset), extent.count};
  }

  std::span<const std::byte> bytes_;
};

}  // namespace linimo
