// What to run on a backend, whichever it is: linimo doctor --backend-script.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace linimo {

/// The device that takes tunnels of that kind on a backend, by the backend's own address.
const char* tunnel_device(const std::string& encapsulation, const std::string& address);

/// What to run on a backend, as root: names which of the causes that nobody can see from here is its own.
std::string backend_script(const std::string& vip, const std::string& encapsulation,
                           const std::string& address);

/// One script for all backends of the API's answers: on each it looks for what keeps this one from serving,
/// by the tunnels of the pools that it is in. Empty: nothing is served.
std::string script_for_backends(const nlohmann::json& services, const nlohmann::json& pools,
                                const nlohmann::json& backends);

}  // namespace linimo
