// A program run with as few rights as can be. It forks: between that and exec nothing is called that threads
// could hold.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

struct ChildProcess {
  int pid = -1;     // and its process group
  UniqueFd ended;   // a pidfd: readable when it has ended
  UniqueFd output;  // standard output and error, not blocking
};

/// Starts argv[0], a path, with nothing inherited: signals, umask, descriptors and priority are as usual. The
/// error is an errno; that the file cannot be executed is among them.
tl::expected<ChildProcess, int> start_unprivileged(const std::vector<std::string>& argv);

}  // namespace linimo
