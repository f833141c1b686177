// Everything that a node of a fleet knows. Only the files of this folder write to it, each to its own part;
// its size is bounded by that of the fleet and of its configuration.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "controlplane/fleet/actions.h"
#include "controlplane/fleet/checkers.h"
#include "controlplane/fleet/events.h"
#include "controlplane/fleet/view.h"
#include "controlplane/health/phi_detector.h"

namespace linimo::fleet {

using Time = std::chrono::steady_clock::time_point;

struct Settings {
  std::string node;
  uint64_t instance = 0;  // greater than that of any earlier process of this node
  std::string about;      // NodeRecord::about
  std::string tunnel;     // NodeRecord::tunnel

  std::chrono::milliseconds lease{10'000};  // how long a silent node counts as living
  std::chrono::milliseconds retry{500};     // between attempts at anything that failed
  std::chrono::milliseconds patience{
      5'000};  // with a contradiction, before this node concludes that it is lost
  std::chrono::milliseconds refresh{30'000};  // at the latest, the whole store is read again
  std::chrono::milliseconds settle{10'000};   // how long an activation waits for the health of new backends
  std::chrono::milliseconds heartbeat{1'000};
  std::chrono::milliseconds notice{3'000};  // by which all nodes know of a change that one knows of
  uint32_t checkers = 3;                    // nodes that check one backend
  uint32_t contradiction_pct = 20;          // of the backends that it checks: more, and the node is lost
  uint32_t kept_revisions = 16;             // documents of older ones are erased
};

/// A revision and a state that may be made a table of. Once both are there they are never lost again.
struct Table {
  uint64_t revision = 0;
  uint64_t documents = 0;
  std::shared_ptr<const Summary> summary;
  std::shared_ptr<const StateRecord> state;

  bool complete() const { return summary != nullptr && state != nullptr; }
  TableId id() const {
    return complete() ? TableId{revision, documents, state->number, state->fence} : TableId{};
  }
};

/// How far the store's history was seen to be: nothing older is followed any more (trust.h).
struct Floors {
  uint64_t epoch = 0;
  int64_t store = 0;   // its revision
  int64_t leader = 0;  // creation of the latest leader key
  uint64_t revision = 0;
  uint64_t documents = 0;
  Fence state_fence;
  uint64_t state = 0;
};

/// What outlives the process.
struct Memory {
  Floors floors;
  Table table;
};

/// One kind of transaction, of which one at a time is on its way.
struct Writing {
  uint64_t request = 0;  // 0: none
  Time sent{};
  int64_t await = 0;  // what was written is there once the view has this store revision
  Time done_at{};
  Time retry_at{};
};

struct Session {
  uint64_t next_request = 1;

  int64_t lease = 0;
  Time lease_until{};  // by this node's clock, counted from when it asked
  Time lease_due{};    // when to ask again
  uint64_t lease_request = 0;
  Time lease_sent{};

  uint64_t read_request = 0;
  Time read_sent{};
  Time read_due{};
  Time read_done{};
  uint64_t watch = 0;  // 0: none
  Time watch_lost{};   // when it became none
  bool once_read = false;
  uint64_t read_epoch = 0;  // the newest that was in it when all of it was read last

  Writing own;      // of the node itself
  Writing leading;  // campaign and what follows
};

/// What became of a revision's documents on this node.
struct Validation {
  uint64_t number = 0;
  uint64_t digest = 0;
  bool known = false;
  std::string refusal;
  std::shared_ptr<const Summary> summary;
  Time asked{};
};

/// The node's own data plane and checks, and what it says of itself.
struct Own {
  std::map<std::string, Opinion> opinions;  // of backends that it is to check
  std::vector<std::string> checked;         // those, sorted
  bool serves = false;

  bool live_known = false;
  TableId live;
  uint64_t live_digest = 0;
  std::shared_ptr<const Summary> live_summary;
  std::optional<Publish> publishing;
  Time published_at{};
  Time publish_due{};

  std::optional<Time> doubts_since;  // it has contradicted the state since
  std::optional<Time> agrees_since;  // it has not, while it complained
  std::optional<Announce> announced;
  bool caught_up = false;  // see Announce
  HandleFragments handlers;
  std::optional<std::vector<std::string>> next_handlers;  // those that there shall be
  Time handlers_since{};                                  // of next_handlers
  std::shared_ptr<const NodeRecord> node;
  std::shared_ptr<const ObservationsRecord> observations;
  Time observed_at{};                // since when they are these
  std::optional<Time> shared_since;  // another node has its tunnel's end
};

struct Peer {
  uint64_t instance = 0;
  uint64_t sequence = 0;
  PhiDetector phi;
  Time counted{};  // the heartbeat that the detector had last
  bool silent = false;
  Time heard{};  // the last one of all, and what it said
  bool stands_in = false;
};

struct Leading {
  uint64_t version = 0;             // of the view from which the last conclusion was drawn
  std::optional<Time> ready_since;  // all are ready for the candidate
  uint64_t ready_for = 0;
  std::optional<Time> unfit_since;  // holds the leader key and cannot lead
  Time state_seen{};                // when the view's state came
  int64_t state_changed = 0;
  uint64_t sent = 0;  // the highest number of a state that it wrote, or wanted to
};

struct State {
  Settings settings;
  Memory memory;

  Time now{};
  std::optional<Time> wake;
  Session session;
  View view;
  bool trusts = false;  // what the view has is no older than what was seen
  std::optional<Time> mistrusts_since;
  bool replaced = false;  // a later process runs as this node

  std::vector<Validation> validations;  // of the active revision and the candidate
  Assignment assignment;
  Own own;
  Leading leading;
  std::map<std::string, Peer> peers;
  uint64_t heartbeats = 0;
  Time heartbeat_due{};
  TableId told;  // what the last heartbeat said
  bool told_stands_in = false;
  std::array<bool, kAlarmKinds> alarms{};
};

/// The node has had word from the store lately enough to know what the others know.
inline bool in_reach(const State& s) {
  return s.session.lease != 0 && s.now < s.session.lease_until && s.session.once_read;
}

/// `next_wake` will be at this time or earlier.
inline void wake_at(State& s, Time time) {
  if (!s.wake || time < *s.wake) s.wake = time;
}

/// Raises or ends an alarm; `text` is asked for when it begins.
template <typename Text>
void alarm_while(State& s, Actions& out, AlarmKind kind, bool holds, Text text) {
  bool& raised = s.alarms[static_cast<size_t>(kind)];
  if (raised == holds) return;
  raised = holds;
  out.push_back(Alarm{kind, holds ? std::string(text()) : std::string()});
}

}  // namespace linimo::fleet
