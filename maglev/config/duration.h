// Times in the configuration.
#pragma once

#include <chrono>
#include <string>

#include "maglev/config/toml_reader.h"

namespace linimo {

/// "200ms", "2s", "15m", "2h". Throws ConfigError at the value's place.
std::chrono::milliseconds read_duration(const TomlValue& value, std::chrono::milliseconds least,
                                        std::chrono::milliseconds most);
std::string duration_text(std::chrono::milliseconds duration);

}  // namespace linimo
