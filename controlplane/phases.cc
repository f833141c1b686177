#include "controlplane/phases.h"

namespace linimo {
namespace {

// A row for each phase, a column for each event, in the order of the header.

constexpr StartPhase kStart[][2] = {
    // kDataplane           kNoDataplane
    {StartPhase::kLearned, StartPhase::kChecking},  // kAsking
    {StartPhase::kLearned, StartPhase::kChecking},  // kChecking
    {StartPhase::kLearned, StartPhase::kLearned},   // kLearned
};

// An answer decides nothing about what has changed since: only what is on its way can become current.
constexpr TablesPhase kU = TablesPhase::kUnknown, kD = TablesPhase::kDue, kW = TablesPhase::kWaiting,
                      kP = TablesPhase::kPublishing, kC = TablesPhase::kCurrent;
constexpr TablesPhase kTables[][8] = {
    // kChange kBlind kBusy kOffered kSame kAccepted kRefused kLost
    {kD, kU, kW, kP, kC, kU, kD, kU},  // kUnknown
    {kD, kU, kW, kP, kC, kD, kD, kD},  // kDue
    {kD, kU, kW, kP, kC, kD, kD, kW},  // kWaiting: whoever had to answer has
    {kD, kU, kW, kP, kC, kC, kD, kW},  // kPublishing
    {kD, kU, kW, kP, kC, kC, kD,
     kC},  // kCurrent: a program in the kernel forwards by them without its process
};

constexpr IdsPhase kN = IdsPhase::kUnheld, kK = IdsPhase::kKeeping, kH = IdsPhase::kHeld;
constexpr IdsPhase kIds[][5] = {
    // kLearned kReloaded kUndone kHold kLive
    {kN, kN, kN, kK, kN},  // kUnheld
    {kN, kK, kN, kK, kH},  // kKeeping
    {kN, kK, kN, kH, kH},  // kHeld
};

template <typename Enum, typename Event, size_t kPhases, size_t kEvents>
Enum look_up(const Enum (&table)[kPhases][kEvents], Enum phase, Event event) {
  return table[static_cast<size_t>(phase)][static_cast<size_t>(event)];
}

}  // namespace

StartPhase next(StartPhase phase, StartEvent event) {
  return look_up(kStart, phase, event);
}

TablesPhase next(TablesPhase phase, TablesEvent event) {
  return look_up(kTables, phase, event);
}

IdsPhase next(IdsPhase phase, IdsEvent event) {
  return look_up(kIds, phase, event);
}

}  // namespace linimo
