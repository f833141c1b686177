// What may happen to a node of a fleet, as `step` is told of it. Answers carry the number of the request that
// they answer; what answers nothing that is still awaited does nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/fleet/records.h"

namespace linimo::fleet {

/// What a revision says, as far as nodes must agree about it.
struct Summary {
  std::vector<std::string> backends;    // "pool/address", sorted
  std::vector<std::string> vips;        // sorted
  std::chrono::milliseconds window{0};  // for how long after a change slots learn, at most; 0: none does
};

/// What a table was made from.
struct TableId {
  uint64_t revision = 0;   // 0: no table
  uint64_t documents = 0;  // digest of the revision's documents
  uint64_t state = 0;
  Fence fence;  // of the state

  auto operator<=>(const TableId&) const = default;
};

/// Time has passed: to be sent when next_wake says so, or at any time.
struct Tick {};

struct ReadDone {
  uint64_t request = 0;
  bool failed = false;
  int64_t revision = 0;  // of the store, as of which the entries are
  std::vector<Entry> entries;
};

/// From a watch: all changes up to a revision, in their order.
struct Changed {
  uint64_t watch = 0;
  int64_t revision = 0;
  std::vector<Entry> entries;
};

/// A watch broke: its start was compacted away, its member has no leader, the connection went.
struct WatchEnded {
  uint64_t watch = 0;
};

enum class Outcome : uint8_t { kDone, kRefused, kUnknown };

struct TransactDone {
  uint64_t request = 0;
  Outcome outcome = Outcome::kUnknown;
  int64_t revision = 0;  // of the store, if done
};

/// Of a lease that was asked for, or kept.
struct LeaseAnswer {
  uint64_t request = 0;
  int64_t lease = 0;
  std::chrono::milliseconds time_to_live{
      0};  // 0: there is none, or no longer (etcd's answer to a late keep-alive)
};

/// The documents of a revision were read and checked.
struct Validated {
  uint64_t number = 0;
  uint64_t digest = 0;
  std::string refusal;  // empty: they are valid here
  std::shared_ptr<const Summary> summary;
};

/// The data plane forwards by a table (revision 0: it has come, and forwards by none).
struct TableLive {
  TableId id;
  uint64_t digest = 0;
};

/// By which handlers the data plane forwards, as an earlier process of this node had them.
struct HandlersLive {
  HandleFragments handlers;
};

/// Other nodes' tunnels lead there from now on (NodeRecord::tunnel).
struct TunnelMoved {
  std::string address;
};

/// What people shall read of this node from now on (NodeRecord::about).
struct Described {
  std::string about;
};

struct TableRefused {
  TableId id;
  std::string why;
};

/// What this node's own checks say of a backend now.
struct Observed {
  std::string backend;
  Opinion opinion;
};

/// Whether this node can forward at all, by its own conditions.
struct Serving {
  bool serves = false;
};

/// From one node to another, past the store. A hint: nothing is decided by it.
struct Heartbeat {
  std::string node;
  uint64_t instance = 0;
  uint64_t sequence = 0;
  TableId table;
  uint64_t digest = 0;
  bool stands_in = false;  // it has word from the store and is well: what it announces others may leave to it
};

using Event =
    std::variant<Tick, ReadDone, Changed, WatchEnded, TransactDone, LeaseAnswer, Validated, TableLive,
                 HandlersLive, TunnelMoved, Described, TableRefused, Observed, Serving, Heartbeat>;

}  // namespace linimo::fleet
