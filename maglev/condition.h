// Watched conditions: what forwarding rests on and can cease to be true while the node runs.
//
// Whoever relies on something outside this program (a device, a route, a rule, a limit) watches it and says
// so as a condition: by name, of which subject (an interface, a worker), and whether it holds. The data plane
// reports its conditions over the link (protocol.h), the control plane has some of its own; status, metrics,
// log and announcement all draw from the one set (controlplane/conditions/).
//
// `kConditionKinds` says what each name means and what it decides. To add a condition: a line there, and
// ConditionBoard::set (data plane) or Conditions::set (control plane) where it is watched.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string_view>

namespace linimo {

/// `kUnknown` never takes anything away: it is said where nobody can tell.
enum class ConditionState : uint8_t { kUnknown, kHolds, kFails };

/// What a condition that fails takes with it.
enum class ConditionScope : uint8_t {
  kAdvice,     // nothing: the operator should know
  kInterface,  // the interface that is its subject; a node without any interface left announces nothing
  kNode        // every VIP of this node
};

struct ConditionKind {
  std::string_view name;
  ConditionScope scope;
  /// How long it must have failed, or held again, before that decides anything: nothing flaps.
  std::chrono::milliseconds fails_after;
  std::chrono::milliseconds holds_after;
  std::string_view meaning;  // one line, of a condition that holds
};

std::span<const ConditionKind> condition_kinds();

/// Of a name that is not in the list, such as a newer peer's: advice.
const ConditionKind& condition_kind(std::string_view name);

const char* condition_state_name(ConditionState state);

}  // namespace linimo
