// The path in lanes: eight packets of a burst at a time, by a CPU's vector instructions. Only plain ones (see
// packet/plain.h) of services of which the table or a flow's entry says where they go; whatever is not so, or
// not so any more at one of the stages, takes the usual path of pipeline.cc, which in_lanes.cc sees to. What
// is decided here is what the usual path decides; tests/packets/lanes_test.cc compares the two.
//
// One source for all back ends (lane_path.cc, over lanes.h), compiled for each of them.
#pragma once

#include <cstdint>
#include <string_view>

#include "dataplane/egress/port_macs.h"
#include "dataplane/flow/connection_table.h"
#include "dataplane/forward/generation.h"
#include "maglev/counters.h"

struct rte_mbuf;

namespace linimo {

/// Eight packets, each field of all of them side by side. Sets of lanes are bits.
struct alignas(64) LaneGroup {
  static constexpr uint32_t kLanes = 8;
  typedef uint64_t Field[kLanes] __attribute__((aligned(64)));

  // What came.
  Field mbuf;
  Field frame;       // where its bytes begin
  Field readable;    // the same, or LanePath::nothing() where it is too short to be plain
  uint32_t present;  // the others are blank

  // What `admit` found.
  uint32_t plain;      // packets to a service; of no other lane anything is known
  uint32_t by_table;   // the slot says where they go
  uint32_t by_entry;   // the flow's entry, if that is found
  uint32_t unsettled;  // of the latter, for their slot is not settled
  uint32_t v6;
  bool one_service;  // all are to the first one's
  Field ip_length, tcp_flags, hash, slot, slot_at, service, service_id;
  Field head;  // of what the outer header takes over: protocol number, identification, flags, class
  Field data_off, ol_flags;
  Field bucket, wanted;  // of those by entry: the first one, and what of an entry tells the flow

  // What `choose` found.
  uint32_t chosen;
  uint32_t stale;      // known, but for the stamp of their entry
  uint32_t deviating;  // known, and to be noted: they go elsewhere than to their slot's current backend
  uint32_t missed;     // their first bucket does not hold them
  Field target;        // of what is chosen, stale or deviating
  Field entry, word;   // of those by entry: where it lies, and what it said

  // What `send` says of those that it made ready.
  Field port;
  bool one_port;

  uint32_t unseen() const { return plain & ~chosen; }
};

/// What the path works with, for one burst.
struct LaneContext {
  const LaneTables* tables;
  const ConnectionTable* connections;
  const PortMacs* macs;
  WorkerCounters* counters;
  uint64_t in_mac;
  uint32_t now_s;
};

struct LanePath {
  const char* name;
  void (*admit)(const LaneContext& context, LaneGroup& group);
  void (*choose)(const LaneContext& context, LaneGroup& group);
  /// Of those chosen: which are made ready for the wire, and counted. Nothing has become of the others.
  uint32_t (*send)(const LaneContext& context, LaneGroup& group);

  /// What stands in blank lanes.
  static rte_mbuf* blank_mbuf();
  static const uint8_t* nothing();
  static constexpr uint32_t kLeastFrame =
      54;  // that lanes read: Ethernet, IPv4 and TCP; shorter ones are padded
};

/// Those that this CPU can do, the fastest first.
std::span<const LanePath* const> lane_paths();
/// The one of that name ("avx512", "avx2"), the fastest ("auto"), or null: there is none, or "off".
const LanePath* lane_path(std::string_view name);

}  // namespace linimo
