// What another program prints, within a time.
#pragma once

#include <chrono>
#include <string>

namespace linimo {

/// What a shell command writes to its standard output until it ends, whatever with. What has not ended by
/// then is killed, with all that it has started, and has said what it had said. `command` has no word that
/// came from elsewhere but addresses, unless the operator wrote it.
std::string output_of(const std::string& command, std::chrono::steady_clock::time_point deadline);

}  // namespace linimo
