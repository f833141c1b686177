// What stands in a fleet's store: keys, and the value that belongs to each. How they are written down is the
// store's affair; decisions are made from these.
//
// A node writes what is its own, and only under its lease; the leader writes `active` and `state`; operators
// write the rest. All values are immutable once made, so nodes of a simulation, and a history, share them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "controlplane/health/backend_health.h"

namespace linimo::fleet {

/// By whose authority something was written: the store's life, which an operator begins anew after a store
/// was emptied or restored, and in it the leader, by the store's revision at which its key was created.
/// Grows.
struct Fence {
  uint64_t epoch = 0;
  int64_t leader = 0;

  auto operator<=>(const Fence&) const = default;
};

/// The newest configuration that somebody wishes for; its documents stand beside it.
struct RevisionRecord {
  uint64_t number = 0;
  uint64_t digest = 0;  // of its documents
  std::string by;

  bool operator==(const RevisionRecord&) const = default;
};

/// Whether a node can live with a revision.
struct ReadyRecord {
  uint64_t instance = 0;
  uint64_t digest = 0;
  std::string refusal;  // why not; empty: it can

  bool operator==(const ReadyRecord&) const = default;
};

/// The configuration that is in force.
struct ActiveRecord {
  Fence fence;
  uint64_t number = 0;
  uint64_t digest = 0;

  bool operator==(const ActiveRecord&) const = default;
};

/// What the fleet holds of one backend. It is named "pool/address".
struct BackendState {
  std::string name;
  HealthState health = HealthState::kUnknown;
  bool drains = false;                       // by an operator's wish
  bool leaves = false;                       // it asks for no new flows itself
  uint32_t eighths = Standing::kFullWeight;  // of its weight; 0: it is held back

  bool operator==(const BackendState&) const = default;
};
using BackendStates = std::vector<BackendState>;  // sorted by name

/// Nothing differs but how much of their weight some have: steps of a slow start are many and small.
bool same_but_for_eighths(const BackendStates& one, const BackendStates& other);
inline constexpr std::chrono::milliseconds kGatherSteps{500};  // so they are written together

/// What tables were made from until lately. Tables are a function of revision and states, so from these a
/// node knows which slots are unsettled, their base and what is left of their window
/// (controlplane/tables/learning.h).
struct Past {
  uint64_t revision = 0;
  std::shared_ptr<const BackendStates> backends;
  std::chrono::milliseconds ago{0};  // that this ceased to be in force
};

struct StateRecord {
  Fence fence;
  uint64_t number = 0;
  std::shared_ptr<const BackendStates> backends;
  std::vector<std::string> excused;  // nodes that have asked not to announce and may do so; sorted
  std::vector<Past> history;         // newest first, at most kMostPast
};
inline constexpr size_t kMostPast = 64;

struct NodeRecord {
  uint64_t instance = 0;               // grows with each start of that node's process
  std::string about;                   // for people: addresses, engine, version
  std::vector<std::string> announces;  // VIPs that others may rely on; sorted
  std::string tunnel;                  // the address that other nodes' tunnels lead to; empty: none

  bool operator==(const NodeRecord&) const = default;
};

/// Nodes between which fragments go (maglev/rules/passing.h), by the addresses of their tunnels.
struct HandleFragments {
  std::vector<std::string> tunnels;      // of those that handle some; sorted
  std::vector<std::string> others = {};  // of those that may pass some on, and handle none; sorted
  bool move = false;  // nodes may differ in who handles which: they are to tell each other of datagrams

  bool operator==(const HandleFragments&) const = default;
};

/// What one node's checks say of a backend.
struct Opinion {
  // Implicit: to most that use it, an opinion is a state and no more.
  Opinion(HealthState of = HealthState::kUnknown, bool asks = false,  // NOLINT(google-explicit-constructor)
          uint32_t share = Standing::kFullWeight)
      : health(of), leaves(asks), eighths(share) {}

  HealthState health;
  bool leaves;       // it asks for no new flows
  uint32_t eighths;  // of its weight, which one that is up is to have; 0: it came and went too often

  bool operator==(const Opinion&) const = default;
};

/// What one node sees of the backends that it checks; of those that are missing it knows nothing.
struct ObservationsRecord {
  std::vector<std::pair<std::string, Opinion>> backends;  // sorted by name
  std::string complaint;  // why this node had better not announce; empty: all is well

  bool operator==(const ObservationsRecord&) const = default;
};

struct LeaderRecord {
  std::string node;
  uint64_t instance = 0;

  bool operator==(const LeaderRecord&) const = default;
};

/// A drain is in force while its key is there.
struct DrainRecord {
  std::string by;

  bool operator==(const DrainRecord&) const = default;
};

/// The store's life. An operator raises it to say: what this store holds now is what counts.
struct EpochRecord {
  uint64_t number = 0;
  std::string by;

  bool operator==(const EpochRecord&) const = default;
};

/// The first alternative: what is there cannot be read, being damaged or of a newer version.
using Value = std::variant<std::monostate, EpochRecord, RevisionRecord, ActiveRecord, StateRecord,
                           LeaderRecord, NodeRecord, ObservationsRecord, ReadyRecord, DrainRecord>;

enum class KeyKind : uint8_t {
  kEpoch,
  kRevision,
  kActive,
  kState,
  kLeader,
  kNode,          // name: the node
  kObservations,  // name: the node
  kReady,         // number: the revision; name: the node
  kDrainBackend,  // name: the backend
  kDrainNode      // name: the node
};

struct Key {
  KeyKind kind = KeyKind::kEpoch;
  uint64_t number = 0;
  std::string name = {};

  auto operator<=>(const Key&) const = default;
};

/// As it stands behind the fleet's prefix in the store.
std::string text(const Key& key);

/// A key as the store has it. Revisions are the store's own, those of etcd: one more with each transaction.
struct Entry {
  Key key;
  std::shared_ptr<const Value> value;  // nothing: the key was deleted
  int64_t created = 0;                 // store revision at which the key was last created
  int64_t changed = 0;                 // store revision of this value, or of the deletion
  int64_t lease = 0;                   // 0: none
};

}  // namespace linimo::fleet
