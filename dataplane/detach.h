// `linimo dataplane detach`: the end of a data plane and of all that it left.
#pragma once

#include <string>

#include "maglev/os/process_lock.h"

namespace linimo {

/// Of a runtime folder.
inline const ProcessKind kDataPlane{.file = "dataplane.lock", .what = "data plane"};

/// Ends the data plane of a runtime folder if one runs, then what the xdp engine left to the kernel. Returns
/// the exit code.
int detach(const std::string& config_file);

}  // namespace linimo
