// What is known of the node as JSON. The shapes are an interface: scripts and dashboards read them. Pure; any
// thread.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "controlplane/node_state.h"

namespace linimo {

nlohmann::json status_view(const NodeState& state);
nlohmann::json services_view(const NodeState& state);
nlohmann::json backends_view(const NodeState& state);
nlohmann::json pools_view(const NodeState& state);

}  // namespace linimo
