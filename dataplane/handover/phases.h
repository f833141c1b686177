// What the data plane that runs does in a hand-over to a new process: every phase, and what follows from what
// happens in it. Nothing else decides.
#pragma once

#include <chrono>
#include <cstdint>

namespace linimo::handover {

enum class Phase : uint8_t {
  kForwarding,  // this process forwards, and nothing is under way
  kPreparing,   // it forwards, and the new one gets ready beside it
  kGiving,      // it has let go; the new one takes over
  kOver,        // nothing is left to do but the last action
};

enum class Event : uint8_t {
  kAsked,     // for a hand-over
  kPrepared,  // says the new process
  kForwards,  // says the new process
  kEnded,     // it has: killed, refused by itself, or said what nobody understands
  kTooLate,   // the phase has lasted for its limit
};

enum class Action : uint8_t {
  kNothing,
  kRefuse,     // who asked: one is under way
  kStart,      // the new process
  kLetGo,      // of all that is the new one's to take
  kGoOn,       // as if nobody had asked, without the new process, which is ended
  kLeave,      // end, and leave all to the new one
  kStartAnew,  // the new one is ended, and this process begins again from nothing
};

struct Step {
  Phase next;
  Action action;

  bool operator==(const Step&) const = default;
};

constexpr Step step(Phase phase, Event event) {
  switch (phase) {
    case Phase::kForwarding:
      if (event == Event::kAsked) return {Phase::kPreparing, Action::kStart};
      return {phase, Action::kNothing};
    case Phase::kPreparing:
      if (event == Event::kAsked) return {phase, Action::kRefuse};
      if (event == Event::kPrepared) return {Phase::kGiving, Action::kLetGo};
      return {Phase::kForwarding, Action::kGoOn};
    case Phase::kGiving:
      if (event == Event::kAsked) return {phase, Action::kRefuse};
      if (event == Event::kForwards) return {Phase::kOver, Action::kLeave};
      return {Phase::kOver, Action::kStartAnew};
    case Phase::kOver:
      break;
  }
  return {phase, Action::kNothing};
}

/// How long the new process may take: to get ready while all is well, and to forward once the old one has let
/// go. Then nobody forwards, or the program in the kernel does, while a slow CPU checks another one.
inline constexpr std::chrono::seconds kPreparingLimit{30};
constexpr std::chrono::seconds giving_limit(bool kernel_forwards) {
  return std::chrono::seconds(kernel_forwards ? 30 : 5);
}

}  // namespace linimo::handover
