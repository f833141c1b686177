// Where the controller stands, as three small machines. A change of a phase is a row of a table here and
// nowhere else; what is done on the way there is the controller's.
//
//   Phase<TablesPhase, TablesEvent> tables;
//   tables.on(TablesEvent::kChange);
//   if (tables.is(TablesPhase::kDue)) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace linimo {

/// What is known at the start: backends have their live states until they are checked, so checks begin once
/// the data plane was asked what is live, or is not there.
enum class StartPhase : uint8_t {
  kAsking,    // no data plane has answered yet, and none was found missing
  kChecking,  // none was there: checks have begun without one
  kLearned,   // a data plane was: what was live in it is known
};
enum class StartEvent : uint8_t { kDataplane, kNoDataplane };

/// How the tables that the data plane forwards by stand to what is configured, wished and known.
enum class TablesPhase : uint8_t {
  kUnknown,     // not before the health of every backend is known
  kDue,         // something has changed, and an evaluation is due
  kWaiting,     // something has changed; the data plane owes an answer, or is away
  kPublishing,  // on their way
  kCurrent,     // live
};
enum class TablesEvent : uint8_t {
  kChange,    // of what is configured, wished or known, and all that may hide one
  kBlind,     // evaluated: not every backend's health is known
  kBusy,      // evaluated: the data plane owes an answer, or is away
  kOffered,   // evaluated: published
  kSame,      // evaluated: live already
  kAccepted,  // a publication is live
  kRefused,   // a publication is not
  kLost,      // the data plane is away; whether it took what was on its way is not known
};

/// Of the numbers that stand for the names of backends and services.
enum class IdsPhase : uint8_t {
  kUnheld,   // a name of the configuration may lack one
  kKeeping,  // every name has one, and names that went still have theirs until the next tables are live
  kHeld,     // every name has one
};
enum class IdsEvent : uint8_t {
  kLearned,   // those of live tables came to be known
  kReloaded,  // another configuration is in force, and its names have ids
  kUndone,    // it was given up on the way
  kHold,      // they were given out
  kLive,      // the tables are live
};

/// What follows on an event in a phase.
StartPhase next(StartPhase phase, StartEvent event);
TablesPhase next(TablesPhase phase, TablesEvent event);
IdsPhase next(IdsPhase phase, IdsEvent event);

/// A machine that is in one phase, at first the first.
template <typename Enum, typename Event>
class Phase {
 public:
  void on(Event event) { now_ = next(now_, event); }
  bool is(Enum phase) const { return now_ == phase; }
  Enum now() const { return now_; }

 private:
  Enum now_{};
};

}  // namespace linimo
