// linimo-checks: runs the programs of checks of type exec for the control plane, which has rights that no
// such program shall have: those of its user on the node's sockets among them.
//
//   linimo-checks              listens on descriptor 3, as systemd's socket units hand it over
//   linimo-checks --lifeline   the same, and ends when standard input does
//
// Each run has a process of its own here, which waits for the program (run.h). Exit codes: 0 asked to end, 1
// it could not go on, 2 wrong usage.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "controlplane/checks/run.h"
#include "controlplane/checks/words.h"
#include "maglev/harden.h"
#include "maglev/program.h"
#include "maglev/unique_fd.h"

namespace linimo {
namespace {

bool become_nobody() {
  const passwd* entry = getpwnam("nobody");
  // What Debian and the kernel (overflowuid) call nobody.
  const uid_t user = entry != nullptr ? entry->pw_uid : 65534;
  const gid_t group = entry != nullptr ? entry->pw_gid : 65534;
  return setgroups(0, nullptr) == 0 && setresgid(group, group, group) == 0 &&
         setresuid(user, user, user) == 0;
}

bool give_up_rights() {
  harden_process();
  if (geteuid() == 0 && !become_nobody()) return false;
  // Who is not root may have capabilities all the same, which would go over exec.
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
         syscall(SYS_capset, &header, none) == 0;
}

bool is_listening(int fd) {
  int listening = 0, type = 0;
  socklen_t size = sizeof listening, type_size = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0 &&
         getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_SEQPACKET;
}

void serve_next() {
  const UniqueFd connection(accept4(kChecksListenFd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection) return;
  // Where there can be no more processes the connection closes, which says that the check was not made.
  if (fork() != 0) return;
  // Both are the parent's, and their numbers are not to become another's, who is moved to them later.
  const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  dup2(null.get(), STDIN_FILENO);
  dup2(null.get(), kChecksListenFd);
  signal(SIGCHLD, SIG_DFL);
  serve_check(connection.get());
  _exit(0);
}

int serve(bool lifeline) {
  signal(SIGCHLD, SIG_IGN);  // nobody waits for those that wait
  signal(SIGPIPE, SIG_IGN);
  while (true) {
    pollfd either[] = {{.fd = kChecksListenFd, .events = POLLIN, .revents = 0},
                       {.fd = lifeline ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
    if (poll(either, std::size(either), -1) < 0 && errno != EINTR) return kFailed;
    if (either[1].revents != 0) return 0;
    if (either[0].revents != 0) serve_next();
  }
}

}  // namespace
}  // namespace linimo

int main(int argc, char** argv) {
  CLI::App app("Runs the programs of checks of type exec for linimo-controlplane, without its rights.");
  app.footer("It listens on descriptor 3: linimo-checks.socket and linimo-controlplane start it so.");
  bool lifeline = false;
  app.add_flag("--lifeline", lifeline, "end when standard input does");
  app.set_version_flag("--version", LINIMO_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : linimo::kUsage;
  }
  if (!linimo::is_listening(linimo::kChecksListenFd)) {
    std::fputs(
        "linimo-checks: descriptor 3 is no listening socket; systemctl start linimo-checks.socket does "
        "what is needed\n",
        stderr);
    return linimo::kUsage;
  }
  setpriority(PRIO_PROCESS, 0,
              0);  // of a control plane that runs by another: who has no rights cannot raise it again
  if (!linimo::give_up_rights()) {
    std::fprintf(stderr, "linimo-checks: its rights stay: %s\n", std::strerror(errno));
    return linimo::kFailed;
  }
  return linimo::serve(lifeline);
}
