// The machines: backends as they are and as the nodes are told, the nodes, and the router before them.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "bench/fleet/control_plane.h"
#include "bench/fleet/ecmp.h"
#include "bench/fleet/node.h"
#include "bench/fleet/scenario.h"

namespace linimo::fleet {

/// What nodes tell each other, and keep of it.
struct Telling {
  uint64_t words = 0;  // each to all other nodes
  uint64_t ends = 0;   // of these: that a flow has ended
  uint64_t untold = 0;
  uint32_t most_a_second = 0;  // of the whole fleet
  double entries = 0;          // of a node, on average
  uint64_t most_entries = 0;
};

class Fleet {
 public:
  Fleet(const Settings& settings, const Scenario& scenario);

  /// Makes the changes that are due, and gives nodes the snapshots that have reached them.
  void advance(uint32_t now_ms);

  /// Once a second.
  void keep_house(uint32_t now_s);

  /// Whether the backend lives, and has since then.
  bool lives_since(uint32_t backend, uint32_t ms) const {
    return truth_[backend].lives && truth_[backend].died_ms < ms;
  }
  bool lives(uint32_t backend) const { return truth_[backend].lives; }

  Node& node_for(uint32_t spread) { return *members_[ecmp_.node_of(spread)].node; }
  const Pool& pool() const { return pool_; }
  uint32_t generations() const { return generations_; }

  uint64_t entries(Mode mode) const;
  double unsettled() const;              // share of slots, over the nodes
  Node::Counts counts(Mode mode) const;  // of all nodes that there ever were
  Telling telling() const;

 private:
  struct Truth {
    bool lives = true;
    int64_t died_ms = -1;  // last
  };
  struct Delivery {
    uint32_t at_ms;
    Snapshot snapshot;
  };
  struct Said {
    uint32_t at_ms;
    const Node* by;
    Word word;
  };
  struct Member {
    std::unique_ptr<Node> node;  // null while it is lost
    std::shared_ptr<ControlPlane> control_plane;
    std::deque<Delivery> on_their_way;
  };

  bool apply(const Change& change, uint32_t now_ms);
  void publish(uint32_t now_ms);
  void bring_back(Member& member, uint32_t now_ms);
  void carry_words(uint32_t now_ms);

  const Settings& settings_;
  const Scenario& scenario_;
  size_t next_change_ = 0;
  std::vector<Truth> truth_;
  Pool pool_;
  PoolSpec spec_;
  Ecmp ecmp_;
  Random random_;
  Random misses_;  // of words: by itself, so that without them all else is the same
  std::shared_ptr<ControlPlane> common_;
  std::vector<Member> members_;
  ByMode<Node::Counts> counts_of_lost_;
  std::deque<Said> said_;
  Telling telling_;
  uint32_t words_this_second_ = 0;
  uint64_t samples_ = 0;
  uint32_t generations_ = 0;
};

}  // namespace linimo::fleet
