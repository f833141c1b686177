// When packets begin to be dropped for a reason, and when that has ended.
//
//   for (const DropWatch::Change& change : watch.look(counts, now)) tell(change);
//
// A packet now and then is no event: the Internet sends such. They begin with a few within some seconds and
// have ended when that was not so for a while. Each time that they begin anew soon after they ended, the
// while doubles, so that what comes and goes for hours does not fill the log.
//
// Pure: the time is an argument. To be asked once a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "controlplane/event_log.h"
#include "maglev/counters.h"

namespace linimo {

class DropWatch {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;

  static constexpr uint64_t kFew = 3;
  static constexpr std::chrono::seconds kWindow{3};  // in which so many begin it
  static constexpr std::chrono::seconds kShortestQuiet{10};
  static constexpr std::chrono::seconds kLongestQuiet{640};

  struct Change {
    size_t reason;  // which of the counters
    bool begins;
    double per_second;             // in the window; of an end: from begin to end
    uint64_t packets = 0;          // of an end: all of them
    std::chrono::seconds time{0};  // that they took
  };

  /// How many packets were dropped until now, by reason: as many counters each time. One that is lower than
  /// before has begun anew.
  std::vector<Change> look(std::span<const uint64_t> counts, Time now);

 private:
  struct Seen {
    Time at;
    std::vector<uint64_t> dropped;  // in all that was looked at
  };
  struct Reason {
    bool drops = false;
    uint64_t dropped = 0, at_begin = 0;
    Time began, last_few, ended;
    std::chrono::seconds quiet = kShortestQuiet;
  };

  std::vector<uint64_t> counts_;
  std::vector<Reason> reasons_;
  std::deque<Seen> window_;  // the first is as old as the window, or older
};

/// Looks at the data plane's counters, and tells.
void note_drops(DropWatch& watch, const CountersView& counters, EventLog& events, DropWatch::Time now);

}  // namespace linimo
