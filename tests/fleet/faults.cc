// What befalls a fleet. Each seed has some kinds of faults, each of which comes now and then and goes.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tests/fleet/simulation.h"

namespace linimo::fleet {
namespace {

enum Kind : uint32_t {
  kDies,
  kFreezes,
  kClockJumps,
  kCutFromStore,
  kCutFromMember,
  kHeartbeatsLost,
  kMemberFreezes,
  kMemberLags,
  kQuorumLost,
  kStoreRestarts,
  kCompacts,
  kStoreGoesBack,
  kBackendChanges,
  kBackendUnreachable,
  kDataplaneDies,
  kWish,
  kDrain,
  kNetworkBad,
  kKinds
};

}  // namespace

void Simulation::plan_faults() {
  const uint32_t common = 10 + random_.below(60);
  for (uint32_t kind = 0; kind < kKinds; ++kind) {
    const uint32_t percent = kind == kStoreGoesBack ? 12 : common;
    if (chance(percent)) faults_.push_back(kind);
  }
}

void Simulation::fault() {
  if (!faulty_ || faults_.empty()) return;
  Node& node = *nodes_[random_.below(static_cast<uint32_t>(nodes_.size()))];
  const uint32_t member = random_.below(kMembers);
  const auto for_a_while = [&](Virtual most, Queue::Job end) { queue_.after(within(most), std::move(end)); };
  switch (faults_[random_.below(static_cast<uint32_t>(faults_.size()))]) {
    case kDies: {
      if (!node.runs) return;
      const bool machine = chance(50);
      const bool forgets = machine && chance(30);
      stop_node(node, machine);
      return for_a_while(seconds(20), [this, &node, forgets] { start_node(node, forgets); });
    }
    case kFreezes:
      if (!node.operates()) return;
      freeze(node, chance(50));
      return for_a_while(seconds(25), [this, &node] { thaw(node); });
    case kClockJumps: {
      const Virtual leap = within(seconds(chance(50) ? 5 : 60));
      say(node, fmt::format("its clock leaps by {:.3f} s", std::chrono::duration<double>(leap).count()));
      node.clock_offset += leap;
      return;
    }
    case kCutFromStore:
      say(node, "is cut off from the store");
      node.cut.fill(true);
      return for_a_while(seconds(50), [this, &node] {
        say(node, "is not cut off any more");
        node.cut.fill(false);
      });
    case kCutFromMember:
      say(node, fmt::format("is cut off from member {}", member));
      node.cut[member] = true;
      return for_a_while(seconds(25), [&node, member] { node.cut[member] = false; });
    case kHeartbeatsLost:
      heartbeats_lost_ = true;
      return for_a_while(seconds(10), [this] { heartbeats_lost_ = false; });
    case kMemberFreezes:
      say(fmt::format("member {} freezes", member));
      members_[member].frozen = true;
      return for_a_while(seconds(20), [this, member] { members_[member].frozen = false; });
    case kMemberLags:
      if (members_[member].stuck) return;
      say(fmt::format("member {} lags", member));
      members_[member].stuck = store_.image();
      return for_a_while(seconds(15), [this, member] { members_[member].stuck.reset(); });
    case kQuorumLost:
      say("the store has no quorum");
      quorum_ = false;
      return for_a_while(seconds(20), [this] { quorum_ = true; });
    case kStoreRestarts:
      say("every watch ends");
      for (auto& other : nodes_) {
        if (other->watching.id != 0) later(*other, delay(), WatchEnded{std::exchange(other->watching.id, 0)});
      }
      return;
    case kCompacts:
      store_.compact();
      return;
    case kStoreGoesBack:
      if (!backup_) {
        backup_ = store_.image();
      } else if (!went_back_) {
        restore_store(chance(30));
      }
      return;
    case kBackendChanges: {
      auto backend = std::next(backends_.begin(), random_.below(static_cast<uint32_t>(backends_.size())));
      backend->second = !backend->second;
      say(fmt::format("backend {} is {}", backend->first, backend->second ? "up" : "down"));
      return look_everywhere(backend->first);
    }
    case kBackendUnreachable:
      if (!chance(40)) return lose_way(node, 10 + random_.below(90), within(seconds(60)));
      for (auto& other : nodes_) lose_way(*other, 20 + random_.below(30), seconds(30) + within(seconds(30)));
      return;
    case kDataplaneDies:
      if (!node.forwards) return;
      set_forwards(node, false);
      return for_a_while(seconds(15), [this, &node] {
        if (node.runs) set_forwards(node, true);
      });
    case kWish:
      if (quorum_) propose(chance(30));
      return;
    case kDrain: {
      if (!quorum_) return;
      const auto backend =
          std::next(backends_.begin(), random_.below(static_cast<uint32_t>(backends_.size())));
      const Key key = chance(50) ? Key{KeyKind::kDrainBackend, 0, backend->first}
                                 : Key{KeyKind::kDrainNode, 0, node.name};
      if (store_.find(key) == nullptr) {
        store_.put(key, DrainRecord{"operator"});
      } else {
        store_.erase(key);
      }
      say(fmt::format("operator changes {}", text(key)));
      return committed();
    }
    case kNetworkBad:
      network_.loss_pct = random_.below(30);
      network_.again_pct = random_.below(20);
      network_.more = within(seconds(chance(30) ? 6 : 1));
      say(fmt::format("the network loses {} %", network_.loss_pct));
      return for_a_while(seconds(20), [this] { network_ = {}; });
    default:
      return;
  }
}

/// Some backends are out of its reach for that time.
void Simulation::lose_way(Node& node, uint32_t percent, Virtual time) {
  for (const auto& [name, up] : backends_) {
    if (chance(percent)) node.unreachable.insert(name);
  }
  say(node, fmt::format("does not reach {}", fmt::join(node.unreachable, " ")));
  for (const std::string& name : node.unreachable) look(node, name, seconds(2));
  queue_.after(time, [this, &node] { find_way(node); });
}

void Simulation::find_way(Node& node) {
  const auto again = std::exchange(node.unreachable, {});
  for (const std::string& name : again) look(node, name, seconds(2));
}

void Simulation::restore_store(bool emptied) {
  say(emptied ? "the store is emptied" : "the store is restored from a backup");
  went_back_ = true;
  for (Member& member : members_) member.stuck.reset();
  store_.restore(emptied ? Store::Image{} : *std::exchange(backup_, std::nullopt), queue_.now());
  refused_.clear();
  for (auto& node : nodes_) {
    if (node->watching.id != 0) later(*node, delay(), WatchEnded{std::exchange(node->watching.id, 0)});
  }
  if (chance(50)) {
    queue_.after(within(seconds(15)), [this] {
      if (went_back_ && quorum_) raise_epoch();
    });
  }
}

void Simulation::raise_epoch() {
  uint64_t highest = 0;
  if (const auto* epoch = store_.record<EpochRecord>(Key{KeyKind::kEpoch})) highest = epoch->number;
  for (const auto& node : nodes_) highest = std::max(highest, node->disk.floors.epoch);
  say(fmt::format("operator says that the store counts as it is, epoch {}", highest + 1));
  store_.put(Key{KeyKind::kEpoch}, EpochRecord{highest + 1, "operator"});
  went_back_ = false;
  committed();
}

void Simulation::mend() {
  faulty_ = false;
  quorum_ = true;
  network_ = {};
  heartbeats_lost_ = false;
  members_ = {};
  for (auto& node : nodes_) {
    node->cut.fill(false);
    find_way(*node);
    thaw(*node);
    start_node(*node, false);
    if (!node->forwards) set_forwards(*node, true);
  }
  committed();
}

}  // namespace linimo::fleet
