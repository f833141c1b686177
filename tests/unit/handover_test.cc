// A hand-over on paper: whatever happens in whichever order, there is one process that forwards or begins to,
// and never two that believe it is theirs alone.

#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "dataplane/handover/phases.h"

namespace linimo::handover {
namespace {

TEST(HandOver, GoesItsWay) {
  EXPECT_EQ(step(Phase::kForwarding, Event::kAsked), (Step{Phase::kPreparing, Action::kStart}));
  EXPECT_EQ(step(Phase::kPreparing, Event::kPrepared), (Step{Phase::kGiving, Action::kLetGo}));
  EXPECT_EQ(step(Phase::kGiving, Event::kForwards), (Step{Phase::kOver, Action::kLeave}));
}

TEST(HandOver, IsOneAtATime) {
  for (const Phase phase : {Phase::kPreparing, Phase::kGiving})
    EXPECT_EQ(step(phase, Event::kAsked), (Step{phase, Action::kRefuse}));
}

/// The two processes, and all that can happen to the new one: it is killed, hangs until it is too late, or
/// speaks out of turn.
struct World {
  Phase phase = Phase::kForwarding;
  bool old_forwards = true;
  bool new_lives = false, new_may_take = false;
  bool leaves = false, starts_anew = false;

  void on(Event event) {
    const Step next = step(phase, event);
    phase = next.next;
    switch (next.action) {
      case Action::kStart:
        new_lives = true;
        break;
      case Action::kLetGo:
        old_forwards = false;
        new_may_take = true;
        break;
      case Action::kGoOn:
        new_lives = false;
        break;
      case Action::kLeave:
        leaves = true;
        break;
      case Action::kStartAnew:
        new_lives = false;
        starts_anew = true;
        break;
      case Action::kRefuse:
      case Action::kNothing:
        break;
    }
  }
  auto key() const { return std::tuple(phase, old_forwards, new_lives, new_may_take, leaves, starts_anew); }
};

void look_into(const World& world, std::set<decltype(World().key())>& seen) {
  if (!seen.insert(world.key()).second) return;
  EXPECT_TRUE(world.old_forwards || world.starts_anew || (world.new_lives && world.new_may_take))
      << "nobody forwards, and nobody will";
  EXPECT_FALSE(world.old_forwards && world.new_lives && world.new_may_take) << "both would";
  EXPECT_FALSE(world.starts_anew && world.new_lives) << "a start anew beside the new one";
  EXPECT_FALSE(world.leaves && world.starts_anew);
  if (world.phase == Phase::kOver) {
    EXPECT_TRUE(world.leaves || world.starts_anew) << "and it would hang about";
    return;  // what becomes of the one that is left is no matter of a hand-over
  }
  for (const Event event :
       {Event::kAsked, Event::kPrepared, Event::kForwards, Event::kEnded, Event::kTooLate}) {
    const bool from_new = event != Event::kAsked && event != Event::kTooLate;
    if (from_new && !world.new_lives) continue;
    World next = world;
    if (event == Event::kEnded) next.new_lives = false;
    next.on(event);
    look_into(next, seen);
  }
}

TEST(HandOver, OneForwardsWhateverHappens) {
  std::set<decltype(World().key())> seen;
  look_into(World(), seen);
  EXPECT_GE(seen.size(), 5U);
}

}  // namespace
}  // namespace linimo::handover
