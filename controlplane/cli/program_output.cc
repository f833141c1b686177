#include "controlplane/cli/program_output.h"

#include <algorithm>
#include <array>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "maglev/unique_fd.h"

namespace linimo {

std::string output_of(const std::string& command, std::chrono::steady_clock::time_point deadline) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const UniqueFd nowhere(open("/dev/null", O_WRONLY | O_CLOEXEC));
  const pid_t child = fork();
  if (child < 0) return {};
  if (child == 0) {
    setpgid(0, 0);  // so that what it starts can be killed with it
    dup2(theirs.get(), STDOUT_FILENO);
    dup2(nowhere.get(), STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  setpgid(child, child);  // whichever of both comes first
  theirs.reset();
  std::string output;
  std::array<char, 4096> buffer;
  pollfd waited{ours.get(), POLLIN, 0};
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (poll(&waited, 1, static_cast<int>(std::max<int64_t>(left.count(), 0))) <= 0) break;
    const ssize_t length = read(ours.get(), buffer.data(), buffer.size());
    if (length <= 0) break;
    output.append(buffer.data(), static_cast<size_t>(length));
  }
  kill(-child, SIGKILL);  // of one that has ended nothing is left to kill
  waitpid(child, nullptr, 0);
  return output;
}

}  // namespace linimo
