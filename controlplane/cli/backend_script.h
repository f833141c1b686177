// What to run on a backend, whichever it is: linimo doctor --backend-script.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace linimo {

/// One script for all backends of the API's answers: on each it looks for what keeps this one from serving,
/// by the tunnels of the pools that it is in. Empty: nothing is served.
std::string script_for_backends(const nlohmann::json& services, const nlohmann::json& pools,
                                const nlohmann::json& backends);

}  // namespace linimo
