// Says what becomes of backends' next hops: one line for a cause, though it may concern thousands.
//
//   log.note(id, address, state);       // whenever one is looked at
//   log.flush(now);                     // now and then: "300 backends (10.0.1.1, ... ): no route"
//
// What changes within a second of the last lines waits for the next ones; what has changed back by then is
// not worth a line. Any one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/egress/next_hop.h"
#include "maglev/address.h"

namespace linimo {

class NextHopLog {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kPeriod{1};

  struct Line {
    NextHop::State state;
    std::string text;
  };

  void note(uint32_t id, const Address& backend, NextHop::State state);
  /// Forgets those that are no backends any more.
  void forget(uint32_t id) { known_.erase(id); }

  /// What is to be said now; empty most of the time.
  std::vector<Line> lines(Clock::time_point now);
  /// Writes it to the log, what resolves as information, the rest as warnings.
  void flush(Clock::time_point now);

 private:
  struct Known {
    Address address;
    NextHop::State state;
    std::optional<NextHop::State> said;
  };

  std::map<uint32_t, Known> known_;  // by id
  bool changed_ = false;
  std::optional<Clock::time_point> last_;
};

}  // namespace linimo
