// The API's answers as text for people.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace linimo {

std::string render_status(const nlohmann::json& status);
std::string render_services(const nlohmann::json& services, bool wide);
/// `wide`: with what is looked at more rarely, and exact numbers.
std::string render_backends(const nlohmann::json& backends, bool wide);
/// How far a backend's drain is, in a line.
std::string drain_text(const nlohmann::json& backend);

}  // namespace linimo
