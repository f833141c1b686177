// Every phase of the controller against every event, and the rules that the tables stand for: an answer makes
// nothing current that has changed since, and no change is ever forgotten.

#include "controlplane/phases.h"

#include <random>
#include <string>

#include <gtest/gtest.h>

namespace linimo {
namespace {

/// What becomes of each phase, in order, by one event: their initials.
template <typename Enum, typename Event>
std::string after(Event event, const std::string& initials) {
  std::string text;
  for (size_t phase = 0; phase < initials.size(); ++phase)
    text += initials.at(static_cast<size_t>(next(static_cast<Enum>(phase), event)));
  return text;
}

TEST(StartPhase, LearnsFromTheFirstDataPlaneForGood) {
  EXPECT_EQ((after<StartPhase>(StartEvent::kDataplane, "ACL")), "LLL");
  EXPECT_EQ((after<StartPhase>(StartEvent::kNoDataplane, "ACL")), "CCL");
}

TEST(TablesPhase, FollowsItsTable) {
  const std::string phases = "UDWPC";  // unknown, due, waiting, publishing, current
  const auto by = [&](TablesEvent event) { return after<TablesPhase>(event, phases); };
  EXPECT_EQ(by(TablesEvent::kChange), "DDDDD");
  EXPECT_EQ(by(TablesEvent::kBlind), "UUUUU");
  EXPECT_EQ(by(TablesEvent::kBusy), "WWWWW");
  EXPECT_EQ(by(TablesEvent::kOffered), "PPPPP");
  EXPECT_EQ(by(TablesEvent::kSame), "CCCCC");
  EXPECT_EQ(by(TablesEvent::kAccepted), "UDDCC") << "what has changed since is not live";
  EXPECT_EQ(by(TablesEvent::kRefused), "DDDDD");
  EXPECT_EQ(by(TablesEvent::kLost), "UDWWC") << "a program in the kernel forwards on";
}

TEST(IdsPhase, FollowsItsTable) {
  const std::string phases = "UKH";  // unheld, keeping, held
  const auto by = [&](IdsEvent event) { return after<IdsPhase>(event, phases); };
  EXPECT_EQ(by(IdsEvent::kLearned), "UUU");
  EXPECT_EQ(by(IdsEvent::kReloaded), "UKK") << "names that went keep theirs while their flows are live";
  EXPECT_EQ(by(IdsEvent::kUndone), "UUU");
  EXPECT_EQ(by(IdsEvent::kHold), "KKH");
  EXPECT_EQ(by(IdsEvent::kLive), "UHH");
}

/// Versions instead of phases: what is wished, what is on its way, what is live; and a data plane that
/// answers, refuses and goes as chance has it.
TEST(TablesPhase, IsCurrentOnlyByTheNewestWish) {
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same every time
  const auto chance = [&](uint32_t percent) { return random() % 100 < percent; };
  Phase<TablesPhase, TablesEvent> tables;
  uint64_t wished = 1, sent = 0, live = 0;
  bool connected = false, timer = false;
  const auto change = [&] {
    tables.on(TablesEvent::kChange);
    timer = true;
  };
  size_t current = 0;
  change();  // health is known
  for (int step = 0; step < 100'000; ++step) {
    if (chance(10)) {
      ++wished;
      change();
    }
    if (timer && chance(50)) {
      timer = false;
      const bool ready = connected && sent == 0;
      if (chance(5)) {
        tables.on(TablesEvent::kBlind);
        change();  // health is known a moment later
      } else if (!ready) {
        tables.on(TablesEvent::kBusy);
      } else if (live == wished) {
        tables.on(TablesEvent::kSame);
      } else {
        sent = wished;
        tables.on(TablesEvent::kOffered);
      }
    }
    if (sent != 0 && chance(40)) {
      const bool waited = tables.is(TablesPhase::kWaiting);
      const bool accepted = chance(80);
      if (accepted) live = sent;
      sent = 0;
      tables.on(accepted ? TablesEvent::kAccepted : TablesEvent::kRefused);
      if (waited || !accepted) change();
    }
    if (chance(3)) {
      connected = !connected;
      if (connected) {
        change();
      } else {
        if (sent != 0 && chance(50)) live = sent;  // it took them, and could not say so
        sent = 0;
        tables.on(TablesEvent::kLost);
      }
    }
    if (tables.is(TablesPhase::kCurrent)) {
      ++current;
      ASSERT_EQ(live, wished) << "step " << step;
    } else if (live != wished && !tables.is(TablesPhase::kWaiting)) {
      ASSERT_TRUE(timer || sent != 0) << "nothing would ever be done about it: step " << step;
    } else if (tables.is(TablesPhase::kWaiting)) {
      ASSERT_TRUE(sent != 0 || !connected) << "nobody would end that wait: step " << step;
    }
  }
  EXPECT_GT(current, 1000U);
}

}  // namespace
}  // namespace linimo
