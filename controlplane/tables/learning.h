// Which slots are learning: their backend has changed lately, and flows that were there before may not have
// been heard of yet by every connection table (tracking = "adaptive").
//
// A settled slot whose backend changes, while the one before lives, gets that as its base, for as long as the
// longest idle timeout of an adaptive service on the pool. A slot that changes again meanwhile keeps base and
// window: flows that began in between are tracked by whoever saw them begin. What becomes of a slot when its
// window is over is the data plane's affair, which alone knows whether flows still deviate. So a window must
// not be longer here than there: a slot that has settled there and changes must be listed again.
//
// Flows that nobody knows are sent to the base for the first two thirds of the window alone. So late they are
// either older than the change and have been silent ever since, which few are, or began after it at a node
// that is gone. Where nodes share their flows the latter are known, and the base counts for the whole window.
// bench/README.md has what that breaks and saves.
//
//   learning.plan(spec, now);      // completes a specification, by what is live
//   learning.accepted();           // the last one that was planned is live now
//   learning.resume(view, since);  // another's snapshot is live
//   learning.recall(former, now);  // here nothing was live of what others of the fleet had lately
//   learning.begin_anew(now);      // another data plane, which tracks nothing but what will be listed
//
// Time is given from outside; any one thread.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "maglev/snapshot.h"

namespace linimo {

class Learning {
 public:
  using Time = std::chrono::steady_clock::time_point;

  void plan(SnapshotSpec& spec, Time now);
  void accepted() { live_ = planned_; }

  /// What is live since then. (Were its windows to begin anew, connections that have begun since on slots
  /// that settled would be taken for those that were there before.)
  void resume(const SnapshotView& live, Time since);

  /// What a node that was there would have forwarded by, from `since` on.
  struct Former {
    SnapshotSpec spec;
    Time since;
  };
  bool knows_nothing() const { return live_.empty(); }
  /// Oldest first, in place of what is known.
  void recall(std::vector<Former> former, Time now);

  /// Slots whose base counts no longer are settled there.
  void begin_anew(Time now);

 private:
  struct Slot {
    uint32_t slot;
    Address base;
    Time until;  // the base counts
    Time over;   // the window is
  };
  struct Pool {
    std::shared_ptr<const PoolTable> table;
    std::chrono::seconds window{};
    std::vector<Slot> slots;  // that learn, sorted
  };

  static std::vector<Slot> changed(const PoolTable& before, const PoolSpec& pool, Time until, Time over);

  std::map<std::string, Pool> live_, planned_;  // by name
};

}  // namespace linimo
