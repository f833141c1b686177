// A fleet in virtual time: nodes that run the real `step`, the store, networks between them, and what befalls
// them. One seed decides all.
//
//   Simulation simulation(seed, trace);
//   const Result result = simulation.run();       // result.violation is empty, or says what was violated,
//   and when
//
// First faults happen for a while (faults.cc), then all is mended and the fleet must agree within a bounded
// time, then nothing may be written any more. What must hold at every step is in invariants.cc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/fleet/random.h"
#include "controlplane/fleet/step.h"
#include "tests/fleet/queue.h"
#include "tests/fleet/store.h"

namespace linimo::fleet {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct Result {
  std::string violation;
  uint64_t steps = 0;
  uint64_t commits = 0;      // of the store
  uint64_t activations = 0;  // of revisions
  uint64_t elections = 0;
};

class Simulation {
 public:
  Simulation(uint64_t seed, bool trace);

  Result run();

 private:
  static constexpr size_t kMembers = 3;

  /// Of the store: what a member answers.
  struct Member {
    bool frozen = false;
    std::optional<Store::Image> stuck;  // it lags: this is what it has
  };

  struct Watching {
    uint64_t id = 0;  // 0: none
    int64_t next = 0;
    bool pumping = false;
  };

  struct Node {
    std::string name;
    size_t index = 0;

    // The control plane's process.
    bool runs = false;
    bool frozen = false;
    std::optional<Virtual> clock_stopped;  // since when; a machine that is suspended knows nothing of it
    uint32_t life = 0;                     // events of earlier ones are lost
    uint64_t instance = 0;
    Virtual clock_offset{0};
    State state;
    Memory disk;
    std::vector<Event> backlog;  // while it is frozen
    Virtual tick_at{-1};
    std::set<std::string> checks;

    // The way to the store.
    size_t member = 0;
    Watching watching;
    std::array<bool, kMembers> cut{};

    // Its machine and data plane.
    bool forwards = false;
    TableId live;
    std::shared_ptr<const Summary> live_summary;
    uint64_t live_digest = 0;
    TableId published;                  // the last one that was wished for
    uint64_t active_there = 0;          // and the revision that was active in the store then
    Announce routes;                    // what the network is told
    HandleFragments handlers;           // what the data plane is told
    std::set<std::string> unreachable;  // backends
    std::optional<Virtual> able_since;  // it could serve
    std::optional<Virtual> lost_since;  // check_lost()

    bool operates() const { return runs && !frozen; }
  };

  /// What somebody wished for.
  struct Documents {
    std::shared_ptr<const Summary> summary;
    std::set<std::string> refused_by;  // nodes
  };

  struct Network {
    uint32_t loss_pct = 0;
    Virtual delay{milliseconds(1)};
    Virtual more{milliseconds(4)};  // at random
    uint32_t again_pct = 0;         // what comes twice
  };

  // simulation.cc: the fleet itself
  void start_node(Node& node, bool forget);
  void stop_node(Node& node, bool machine);
  void freeze(Node& node, bool with_clock);
  void thaw(Node& node);
  void feed(Node& node, const Event& event);
  void later(Node& node, Virtual delay, Event event);
  void tick(Node& node);
  Time clock(const Node& node) const { return Time(queue_.now() + node.clock_offset); }
  void propose(bool valid_everywhere);
  void mend_all();

  // effects.cc: what comes of a node's actions
  void carry_out(Node& node, Action& action);
  template <typename Answer>
  void ask_store(Node& node, Answer answer);
  bool connected(const Node& node, size_t member) const;
  void pump(Node& node, Virtual delay);
  void deliver_changes(Node& node);
  void committed();
  void transact(Node& node, const Transact& transaction);
  void publish(Node& node, const Publish& wish);
  void set_forwards(Node& node, bool forwards);
  void look(Node& node, const std::string& backend, Virtual within, bool may_start_slowly = true);
  void look_everywhere(const std::string& backend);
  Virtual delay();
  bool chance(uint32_t percent) { return random_.below(100) < percent; }
  Virtual within(Virtual most) {
    return Virtual(static_cast<int64_t>(random_.next() % static_cast<uint64_t>(most.count() + 1)));
  }

  // faults.cc
  void plan_faults();
  void fault();
  void mend();
  void lose_way(Node& node, uint32_t percent, Virtual time);
  void find_way(Node& node);
  void restore_store(bool emptied);
  void raise_epoch();

  // invariants.cc
  void violated(const std::string& what);
  void check_step(const Node& node);
  void check_state(const Node& node, const StateRecord& next);
  void check_commit(const Transact& transaction, const std::map<Key, uint64_t>& before);
  void check_table(const Node& node);
  void check_lost();
  void audit();
  void check_agreement();
  void check_quiet();
  bool able(const Node& node, const std::string& vip) const;

  void say(const std::string& text);
  void say(const Node& node, const std::string& text);

  uint64_t seed_;
  bool trace_;
  Random random_;
  Queue queue_;
  Result result_;
  Store store_;
  std::array<Member, kMembers> members_;
  bool quorum_ = true;
  Network network_;
  bool heartbeats_lost_ = false;
  std::vector<std::unique_ptr<Node>> nodes_;

  std::map<std::string, bool> backends_;  // by name: whether it is up
  std::vector<std::string> vips_;
  std::map<std::pair<uint64_t, uint64_t>, Documents> documents_;  // by number and digest
  uint64_t next_digest_ = 1;

  std::vector<uint32_t> faults_;  // kinds that befall this fleet
  bool faulty_ = true;
  std::optional<Store::Image> backup_;
  bool went_back_ = false;  // the store was emptied or restored, and nobody has said that it counts

  std::set<std::pair<uint64_t, uint64_t>> refused_;
  std::map<std::tuple<std::string, uint64_t, uint64_t, uint64_t>, bool>
      validated_;                                // node, instance, revision
  std::map<std::string, Virtual> nobody_since_;  // by VIP
  int64_t quiet_from_ = 0;                       // store revision
  uint64_t quiet_actions_ = 0;                   // actions that change anything, since all was quiet
  bool quiet_ = false;
};

}  // namespace linimo::fleet
