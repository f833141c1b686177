// What the data plane tells its service manager, out of what it knows. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dataplane/conditions.h"

namespace linimo {

/// No thread that forwards is known to stand still. One that does is not helped but by a restart of the
/// process, which the manager's watchdog sees to.
bool all_go_round(const ConditionBoard& board);

/// One line. `generation`: of the live tables, if there are any; `controlled`: a control plane is connected.
std::string service_status(std::optional<uint64_t> generation, bool controlled, const ConditionBoard& board);

}  // namespace linimo
