#include "controlplane/checks/run.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/checks/words.h"
#include "maglev/os/seqpacket.h"

namespace linimo {
namespace {

constexpr int kRequestMs = 2000;  // whoever connects asks at once

/// What is ignored or blocked stays so over exec. By the system call: the C library sets none of its own
/// signals, which its posix_spawn leaves ignored.
void reset_signals() {
  constexpr size_t kSetBytes = 8;
  const uint64_t usual[4] = {};  // SIG_DFL, no flags
  for (int number = 1; number < NSIG; ++number) syscall(SYS_rt_sigaction, number, usual, nullptr, kSetBytes);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void limit_resources() {
  const auto limit = [](auto what, rlim_t most) {
    const rlimit limits{most, most};
    setrlimit(what, &limits);
  };
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 1 << 20);
  limit(RLIMIT_AS, 1 << 30);
  limit(RLIMIT_NOFILE, 64);
}

/// In the child, until exec. Says through `failed` why it came to nothing: the errno.
[[noreturn]] void become(const std::vector<char*>& argv, int output, int failed) {
  const int null = open("/dev/null", O_RDWR);
  const bool ready =
      setsid() >= 0 && dup2(null, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0 && chdir("/") == 0;
  // Nothing of ours stays open but the pipe that says what went wrong, and that one closes itself.
  dup2(failed, 3);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  close_range(4, ~0u, 0);
  reset_signals();
  umask(022);
  limit_resources();
  if (ready) {
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char* const environment[] = {path, nullptr};
    execve(argv[0], argv.data(), environment);
  }
  const int error = errno;
  if (write(3, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

/// A program, the leader of its session and group.
struct Child {
  pid_t pid = -1;
  UniqueFd ended;  // a pidfd: readable when it has ended
  int error = 0;   // why it was not started
};

Child start(std::string& words, int output) {
  std::vector<char*> argv;
  for (size_t at = 0; at < words.size(); at = words.find('\0', at) + 1) argv.push_back(words.data() + at);
  argv.push_back(nullptr);

  int failed[2];
  if (pipe2(failed, O_CLOEXEC) != 0) return {.ended = {}, .error = errno};
  const UniqueFd failed_read(failed[0]);
  UniqueFd failed_write(failed[1]);
  Child child{.pid = fork(), .ended = {}};
  if (child.pid < 0) return {.ended = {}, .error = errno};
  if (child.pid == 0) become(argv, output, failed_write.get());

  failed_write.reset();
  child.ended = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.ended) child.error = errno;
  int error = 0;  // it comes at once, or the pipe's end does, when exec closes it
  if (read(failed_read.get(), &error, sizeof error) == sizeof error) child.error = error;
  if (child.error != 0) {
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
  }
  return child;
}

std::optional<Message> request_on(int connection) {
  pollfd asked{.fd = connection, .events = POLLIN, .revents = 0};
  if (poll(&asked, 1, kRequestMs) != 1) return std::nullopt;
  auto message = receive_message(connection, kMostArgvBytes);
  if (!message || !*message || (*message)->oversized || (*message)->fds.size() != 1) return std::nullopt;
  // A path from the root, as everybody means the same by it, and nothing cut off.
  const auto& bytes = (*message)->bytes;
  if (bytes.front() != std::byte{'/'} || bytes.back() != std::byte{0}) return std::nullopt;
  return std::move(*message);
}

void answer(int connection, CheckAnswer::What what, int value) {
  const CheckAnswer said{.what = what, .value = value};
  (void)send_message(connection, std::as_bytes(std::span(&said, 1)));  // nobody: then nobody wants to know
}

}  // namespace

void serve_check(int connection) {
  std::optional<Message> request = request_on(connection);
  if (!request) return;
  std::string words(reinterpret_cast<const char*>(request->bytes.data()), request->bytes.size());
  const Child child = start(words, request->fds[0].get());
  request->fds.clear();  // the output's end is the program's own
  answer(connection, CheckAnswer::kStarted, child.error);
  if (child.error != 0) return;

  pollfd either[] = {
      {.fd = child.ended.get(), .events = POLLIN, .revents = 0},
      {.fd = connection, .events = POLLIN, .revents = 0}};  // nothing more is said: it has closed
  while (poll(either, std::size(either), -1) < 0 && errno == EINTR) continue;
  siginfo_t ending{};  // stays zero where it goes on
  waitid(P_PID, static_cast<id_t>(child.pid), &ending, WEXITED | WNOHANG | WNOWAIT);
  // Before it is reaped, while the number of its group is still its own: what it left behind ends, too.
  kill(-child.pid, SIGKILL);
  waitpid(child.pid, nullptr, 0);
  if (ending.si_pid == 0) return;
  answer(connection, ending.si_code == CLD_EXITED ? CheckAnswer::kExited : CheckAnswer::kSignaled,
         ending.si_status);
}

}  // namespace linimo
