// One process of a kind on a runtime folder: the second finds out who the first is.
//
//   auto lock = lock_runtime_dir("/run/linimo", {.file = "dataplane.lock", .what = "data plane"});
//
// Any thread.
#pragma once

#include <filesystem>
#include <string>

#include <sys/types.h>
#include <tl/expected.hpp>

#include "maglev/unique_fd.h"

namespace linimo {

struct ProcessKind {
  const char* file;  // in the runtime folder
  const char* what;  // for the error
};

/// Makes the folder (0755: others reach the control socket) if there is none, locks the file in it until the
/// descriptor is closed or the process ends, however it ends, and writes the process's id there. A lock may
/// outlive its process in a child that cleans up: that is waited for, up to 5 s, so that whoever restarts may
/// do so at once. The error says which process has it.
tl::expected<UniqueFd, std::string> lock_runtime_dir(const std::filesystem::path& folder,
                                                     const ProcessKind& kind);

/// Writes this process's id into a file whose lock another process has passed on to it.
tl::expected<void, std::string> note_lock_holder(int fd);

/// flock(2) without waiting.
bool try_lock(int fd);

/// Who has locked the file, or last had; 0: nobody yet.
pid_t lock_holder(int fd);

}  // namespace linimo
