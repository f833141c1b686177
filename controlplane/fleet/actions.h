// What `step` wants done. Whoever carries it out answers with an event where one is named; an answer that
// never comes is reckoned with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "controlplane/fleet/alarms.h"
#include "controlplane/fleet/events.h"
#include "controlplane/fleet/records.h"

namespace linimo::fleet {

/// All of the fleet's keys but the documents. -> ReadDone
struct Read {
  uint64_t request = 0;
};

/// Changes from a store revision on; ends the watch before. At the member and connection where the lease is
/// kept.
/// -> Changed, WatchEnded
struct Watch {
  uint64_t watch = 0;
  int64_t from = 0;
};

/// Lease and watch go to another member from now on.
struct ChangeEndpoint {};

/// -> LeaseAnswer
struct GrantLease {
  uint64_t request = 0;
};
struct KeepLease {
  uint64_t request = 0;
  int64_t lease = 0;
};

/// One condition of a transaction. A key that is not there has revisions of 0.
struct Compare {
  enum class What : uint8_t {
    kCreated,     // the key's creation is at `revision`
    kChanged,     // its last change is at `revision`
    kNoneChanged  // no key of this kind was changed behind `revision` (etcd: a comparison over a range)
  };
  Key key;
  What what = What::kChanged;
  int64_t revision = 0;
};

struct Put {
  Key key;
  std::shared_ptr<const Value> value;
  int64_t lease = 0;  // 0: none
};

/// All of it or nothing, if every comparison holds. -> TransactDone
struct Transact {
  uint64_t request = 0;
  std::vector<Compare> compares;
  std::vector<Put> puts;
  std::vector<Key> erases;
  uint64_t forget_below = 0;  // documents and votes of revisions below this one go, too
};

/// Read and check a revision's documents; answer once that is known. -> Validated
struct Validate {
  uint64_t number = 0;
  uint64_t digest = 0;
};

/// Make the table of these and hand it to the data plane. -> TableLive, TableRefused
struct Publish {
  TableId id;
  std::shared_ptr<const Summary> summary;
  std::shared_ptr<const StateRecord> state;
};

/// The backends to check from now on, and no others. -> Observed
struct Check {
  std::vector<std::string> backends;
};

/// The VIPs to announce from now on, and no others. Draining: with the metric of a node that goes. Until the
/// node has caught up, what an earlier process announced stays, and nothing else is.
struct Announce {
  std::vector<std::string> vips;
  bool draining = false;
  bool caught_up = false;

  bool operator==(const Announce&) const = default;
};

/// To be kept across restarts: give it to `start` again.
struct Remember {};

/// To all other nodes that live.
struct SendHeartbeat {
  Heartbeat heartbeat;
};

/// A condition of the fleet's began or, with an empty text, ended.
struct Alarm {
  AlarmKind kind;
  std::string text;
};

/// For the log.
struct Say {
  std::string text;
};

using Action = std::variant<Read, Watch, ChangeEndpoint, GrantLease, KeepLease, Transact, Validate, Publish,
                            Check, Announce, HandleFragments, Remember, SendHeartbeat, Alarm, Say>;
using Actions = std::vector<Action>;

}  // namespace linimo::fleet
