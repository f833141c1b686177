#include "controlplane/health/child_process.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace linimo {
namespace {

struct User {
  uid_t id = 65534;  // what Debian and the kernel (overflowuid) call nobody
  gid_t group = 65534;
};

User nobody() {
  const passwd* entry = getpwnam("nobody");
  return entry != nullptr ? User{entry->pw_uid, entry->pw_gid} : User{};
}

bool give_up_rights(const User& user) {
  if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setresgid(user.group, user.group, user.group) != 0 ||
                         setresuid(user.id, user.id, user.id) != 0)) {
    return false;
  }
  // Who is not root may have capabilities all the same, which would go over exec.
  return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
         prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/// What is ignored or blocked stays so over exec.
void reset_signals() {
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number) sigaction(number, &usual, nullptr);
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
[[noreturn]] void become(const std::vector<char*>& argv, const User& user, int output, int failed) {
  const int null = open("/dev/null", O_RDWR);
  const bool ready =
      setsid() >= 0 && dup2(null, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0 && chdir("/") == 0;
  // Nothing of ours stays open but the pipe that says what went wrong, and that one closes itself.
  dup2(failed, 3);
  fcntl(3, F_SETFD, FD_CLOEXEC);
  close_range(4, ~0u, 0);
  reset_signals();
  umask(022);
  setpriority(PRIO_PROCESS, 0, 0);
  limit_resources();
  if (ready && give_up_rights(user)) {
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char* const environment[] = {path, nullptr};
    execve(argv[0], argv.data(), environment);
  }
  const int error = errno;
  if (write(3, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

}  // namespace

tl::expected<ChildProcess, int> start_unprivileged(const std::vector<std::string>& argv) {
  static const User user = nobody();
  const auto failure = [] { return tl::unexpected(errno); };
  int output[2];
  int failed[2];
  if (pipe2(output, O_CLOEXEC) != 0) return failure();
  UniqueFd output_read(output[0]), output_write(output[1]);
  if (pipe2(failed, O_CLOEXEC) != 0) return failure();
  UniqueFd failed_read(failed[0]), failed_write(failed[1]);
  fcntl(output_read.get(), F_SETFL, O_NONBLOCK);

  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t pid = fork();
  if (pid < 0) return failure();
  if (pid == 0) become(words, user, output_write.get(), failed_write.get());

  failed_write.reset();
  ChildProcess child{.pid = pid,
                     .ended = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))),
                     .output = std::move(output_read)};
  int error = child.ended ? 0 : errno;  // else it comes at once, or the pipe's end does, when exec closes it
  if (read(failed_read.get(), &error, sizeof error) == sizeof error || !child.ended) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return tl::unexpected(error);
  }
  return child;
}

}  // namespace linimo
