// The command's side of a hand-over: asks the data plane that runs, and says how it went.
#pragma once

#include <string>

namespace linimo::handover {

/// Exit code of the program.
int upgrade(const std::string& config_file);

}  // namespace linimo::handover
