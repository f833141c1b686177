// How far drains are: how many flows are left, for how long yet, and when a backend may be switched off.
//
// Flows end in several ways, and who may be told by its end depends on what the data plane keeps of it:
// - tracked flows are counted: TCP's until it has said FIN and then nothing for 10 s, or was silent for the
//   idle timeout, UDP's until it was silent for that long;
// - with adaptive tracking those that had no entry are heard of within one idle timeout, or have ended;
// - of untracked ones, and of QUIC, which follows the server ids in its packets, nothing is known but that
//   packets come: when none has come for an idle timeout, they have ended.
//
// A backend is drained when all of these say so, and two whole counts were made since its drain began.
//
// Time and counts are given from outside; any one thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "controlplane/config/config.h"
#include "controlplane/health/backend_health.h"
#include "maglev/counters.h"

namespace linimo {

/// How the flows of a pool's services are known to have ended, beyond being counted; 0: no need for that.
struct FlowEnds {
  std::chrono::seconds heard_of{0};  // that long after the beginning every flow that lives was heard of
  std::chrono::seconds silence{0};   // after so long without any packet none lives
  std::chrono::seconds idle{0};      // after so long without any packet none is counted any more
};
FlowEnds flow_ends(const Config& config, uint32_t pool);

class DrainWatch {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Seen {
    FlowCount flows;
    uint64_t packets = 0;  // that the backend has got, ever
  };
  using Look = std::function<Seen(const BackendKey&)>;

  struct Progress {
    FlowCount flows;
    bool done = false;
    // An estimate: as many flows end as did before, and none outlives a silence. Nothing: who knows.
    std::optional<std::chrono::seconds> left;
  };

  /// To be called now and then with all backends that drain by the live tables. `rounds`: how often the data
  /// plane has counted. Returns those that have become drained.
  std::vector<BackendKey> update(const std::map<BackendKey, FlowEnds>& draining, uint64_t rounds,
                                 const Look& look, Time now);

  /// To be called whenever tables are planned: a drain that was cancelled and begins again is another one.
  void forget_others(const std::map<BackendKey, FlowEnds>& draining);

  /// Of a backend that drains, after an update; nullptr of others.
  const Progress* find(const BackendKey& backend) const;

  /// Another data plane: what was counted says nothing about its flows.
  void begin_anew() { drains_.clear(); }

 private:
  struct Drain {
    Time begin;
    uint64_t first_round;
    uint64_t most_flows = 0;  // that were seen, and when
    Time most_at;
    uint64_t packets;  // when one was last seen to come, and how many had by then
    Time last_packet;
    Progress progress;
  };

  static void update(Drain& drain, const FlowEnds& ends, uint64_t rounds, const Seen& seen, Time now);

  std::map<BackendKey, Drain> drains_;
};

}  // namespace linimo
