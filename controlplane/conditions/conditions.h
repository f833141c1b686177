// The watched conditions of the node (maglev/condition.h), those that the data plane reports and those that
// the control plane sees itself, and what follows from them: whether the node may serve, and by which device.
//
//   Conditions conditions;
//   conditions.set({.name = "carrier", .subject = "eth0", .state = ConditionState::kFails}, now);
//   for (const Conditions::Change& change : conditions.step(now)) log(change);
//   if (!conditions.serving().serves) withdraw();
//   again_at(conditions.next_step());
//
// A state decides something once it has lasted for its kind's hold time: `step` moves time on. Pure: no
// clock, no log.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/conditions/condition_report.h"

namespace linimo {

/// One condition as it is known.
struct Condition {
  ConditionState state = ConditionState::kUnknown;
  ConditionScope scope = ConditionScope::kAdvice;
  std::chrono::steady_clock::time_point since;  // when that state began
  bool failed = false;                          // what is decided upon: `state`, once it has lasted
  bool reported = false;                        // by the data plane, not seen by this process
  bool confirmed = false;                       // in this connection
  std::string evidence;
  std::string mend;
  std::string device;
};

/// What a node may do by its conditions.
struct Serving {
  bool serves = true;
  std::string why;     // not; empty where it does
  std::string device;  // of the first interface that serves; empty: none is known

  bool operator==(const Serving&) const = default;
};

class Conditions {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Key = std::pair<std::string, std::string>;  // name, subject

  /// A decision: a condition has failed, or holds again. Of one that ceased to be watched, `condition` is as
  /// it was.
  struct Change {
    Key key;
    Condition condition;
  };

  /// What this process sees. `scope`: other than the kind's, where the engine makes a difference.
  void set(const ConditionReport& report, Time now, std::optional<ConditionScope> scope = std::nullopt);

  /// What the data plane says. A data plane that has just connected tells everything, and then that it has:
  /// what an earlier one said and this one does not is forgotten.
  void begin_reports();
  void report(const ConditionReport& report, Time now);
  void end_reports();
  /// There is no data plane: nobody knows how its conditions stand.
  void lose_reports(Time now);

  /// Decisions that are due.
  std::vector<Change> step(Time now);
  /// When time alone will next make one.
  std::optional<Time> next_step() const;

  Serving serving() const;
  const std::map<Key, Condition>& all() const { return all_; }

 private:
  Condition& put(const ConditionReport& report, Time now);
  static std::optional<Time> due(const Key& key, const Condition& condition);

  std::map<Key, Condition> all_;
  std::vector<Change> gone_;  // had failed, and are no longer watched
};

}  // namespace linimo
