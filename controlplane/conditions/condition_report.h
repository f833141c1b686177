// One watched condition as somebody tells of it, for the first time or anew.
#pragma once

#include <string>

#include "maglev/condition.h"

namespace linimo {

struct ConditionReport {
  std::string name{};
  std::string subject{};  // an interface as it is configured, a worker; empty: the node
  ConditionState state = ConditionState::kUnknown;
  bool watched = true;     // false: no longer
  std::string evidence{};  // what was seen
  std::string mend{};      // a command that mends it; empty: none is known
  std::string device{};    // of an interface: the kernel device for routes that announce VIPs by it
};

}  // namespace linimo
