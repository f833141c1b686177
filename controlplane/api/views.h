// The controller's state as JSON. The shapes are an interface: scripts and dashboards read them.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "controlplane/controller.h"

namespace linimo {

nlohmann::json status_view(const Controller& controller);
nlohmann::json services_view(const Controller& controller);
nlohmann::json backends_view(const Controller& controller);
nlohmann::json pools_view(const Controller& controller);

}  // namespace linimo
