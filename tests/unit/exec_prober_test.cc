// Checks by a program: its exit code decides; it runs without rights, for a bounded time, with bounded
// output, and leaves no process behind.

#include "controlplane/health/exec_prober.h"

#include <csignal>
#include <fstream>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/fake_dataplane.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

/// Ended, and not yet cleared away by whoever inherited it.
bool is_zombie(int pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string number, name, state;
  stat >> number >> name >> state;
  return state == "Z";
}

/// Of this process; 0: it has none, or several.
int pid_of_only_child() {
  std::ifstream children(fmt::format("/proc/self/task/{}/children", getpid()));
  int first = 0, second = 0;
  children >> first >> second;
  return second == 0 ? first : 0;
}

class ExecProberTest : public testing::Test {
 protected:
  ExecProberTest() { std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755)); }

  std::unique_ptr<Probe> start(const std::string& script, milliseconds timeout, Prober::Done done) {
    folder_.write("check", script, 0755);
    return start_as_it_is(timeout, std::move(done));
  }
  /// The script of the last check.
  std::unique_ptr<Probe> start_as_it_is(milliseconds timeout, Prober::Done done) {
    HealthCheckConfig config;
    config.type = CheckType::kExec;
    config.program = "check";
    config.port = 80;
    config.timeout = timeout;
    return prober_->start(*Address::parse("10.0.1.1"), config, std::move(done));
  }
  Verdict check(const std::string& script, milliseconds timeout = milliseconds(3000)) {
    folder_.write("check", script, 0755);
    return check_as_it_is(timeout);
  }
  Verdict check_as_it_is(milliseconds timeout = milliseconds(3000)) {
    std::optional<Verdict> verdict;
    const auto probe = start_as_it_is(timeout, [&](const Verdict& v) { verdict = v; });
    EXPECT_TRUE(run_until(io_, [&] { return verdict.has_value(); }));
    return verdict.value_or(Verdict{});
  }
  /// What a script prints, by way of a failure's detail.
  std::string output_of(const std::string& commands) {
    const std::string detail = check("#!/bin/sh\n" + commands + "\nexit 7\n").detail;
    constexpr std::string_view kPrefix = "exec: exit code 7: ";
    return detail.starts_with(kPrefix) ? detail.substr(kPrefix.size()) : "?? " + detail;
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  std::unique_ptr<Prober> make_prober() {
    return make_exec_prober(io_, folder_.path(), folder_.path() / "checks.sock", LINIMO_CHECKS);
  }
  /// What a script has written into that file, once it has.
  int pid_in(const std::filesystem::path& file) {
    int pid = 0;
    EXPECT_TRUE(run_until(io_, [&] { return static_cast<bool>(std::ifstream(file) >> pid); }));
    return pid;
  }
  testing::AssertionResult ends(int pid) {
    if (run_until(io_, [&] { return kill(pid, 0) != 0 || is_zombie(pid); }))
      return testing::AssertionSuccess();
    return testing::AssertionFailure() << pid << " goes on";
  }

  std::unique_ptr<Prober> first_, prober_ = make_prober();
};

TEST_F(ExecProberTest, JudgesByTheExitCode) {
  EXPECT_TRUE(check("#!/bin/sh\nexit 0\n").healthy);
  EXPECT_EQ(check("#!/bin/sh\nexit 3\n").detail, "exec: exit code 3");
  EXPECT_EQ(check("#!/bin/sh\necho 'disk full'; echo more; exit 3\n").detail, "exec: exit code 3: disk full");
  EXPECT_EQ(check("#!/bin/sh\nkill -9 $$\n").detail, "exec: ended by signal 9");
}

TEST_F(ExecProberTest, TellsTheAddressAndThePort) {
  EXPECT_EQ(output_of("echo \"$# $1 $2\""), "2 10.0.1.1 80");
}

TEST_F(ExecProberTest, RunsWithoutRights) {
  if (geteuid() != 0) GTEST_SKIP() << "only root has rights to give up";
  EXPECT_EQ(output_of("id -u; "), "65534");
  EXPECT_EQ(output_of("id -G"), "65534");
  EXPECT_EQ(output_of("grep NoNewPrivs /proc/self/status"), "NoNewPrivs:?1");
  EXPECT_EQ(output_of("env | grep -v PWD | grep -v '^_=' | tr '\\n' ' '"),
            "PATH=/usr/local/bin:/usr/bin:/bin ");
  const UniqueFd ours(open("/dev/null", O_RDONLY));  // without O_CLOEXEC
  EXPECT_EQ(output_of("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ") << "3 is the folder that ls reads";
}

TEST_F(ExecProberTest, InheritsNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may raise a priority again";
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  sigprocmask(SIG_BLOCK, &blocked, &before);
  const mode_t usual = umask(0077);
  const int priority = getpriority(PRIO_PROCESS, 0);
  setpriority(PRIO_PROCESS, 0, 5);
  EXPECT_EQ(output_of("grep -E '^Sig(Ign|Blk)' /proc/self/status | tr -d '0\\t\\n'"), "SigBlk:SigIgn:");
  EXPECT_EQ(output_of("umask"), "0022");
  EXPECT_EQ(output_of("nice"), "0");
  setpriority(PRIO_PROCESS, 0, priority);
  umask(usual);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  signal(SIGHUP, SIG_DFL);
  signal(SIGPIPE, SIG_DFL);
}

TEST_F(ExecProberTest, SaysWhatCannotBeRun) {
  folder_.write("check", "#!/bin/sh\n", 0644);
  HealthCheckConfig config;
  config.type = CheckType::kExec;
  for (const auto& [program, reason] :
       {std::pair("check", "Permission denied"), {"nothing", "No such file or directory"}}) {
    config.program = program;
    std::optional<Verdict> verdict;
    const auto probe =
        prober_->start(*Address::parse("10.0.1.1"), config, [&](const Verdict& v) { verdict = v; });
    ASSERT_TRUE(run_until(io_, [&] { return verdict.has_value(); }));
    EXPECT_EQ(verdict->detail, "exec: " + (folder_.path() / program).string() + ": " + reason);
  }
}

TEST_F(ExecProberTest, BoundsTheTimeAndEndsWhatItStarted) {
  const auto start = std::chrono::steady_clock::now();
  const auto pid_file = folder_.write("pid", "", 0666);
  EXPECT_EQ(
      check("#!/bin/sh\nsleep 60 & echo $! > " + pid_file.string() + "; wait\n", milliseconds(300)).detail,
      "exec: not done within 300 ms");
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(1500));
  int grandchild = 0;
  std::ifstream(pid_file) >> grandchild;
  ASSERT_GT(grandchild, 0);
  EXPECT_TRUE(run_until(io_, [&] { return kill(grandchild, 0) != 0 || is_zombie(grandchild); }))
      << "what the program started ends with it";
}

TEST_F(ExecProberTest, BoundsTheOutput) {
  EXPECT_EQ(check("#!/bin/sh\nwhile :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done\n").detail,
            "exec: more than 4096 bytes of output");
  EXPECT_TRUE(check("#!/bin/sh\nhead -c 4096 /dev/zero\n").healthy);
  EXPECT_EQ(output_of("head -c 1000 /dev/zero | tr '\\0' x").size(), 200u);
  EXPECT_EQ(output_of("printf 'a\\033[31mb\\377'"), "a?[31mb?") << "nothing that a terminal would obey";
}

TEST_F(ExecProberTest, LeavesNoProcessBehind) {
  const auto pid_file = folder_.write("pid", "", 0666);
  int verdicts = 0;
  auto probe = start("#!/bin/sh\necho $$ > " + pid_file.string() + "\nsleep 60\n", milliseconds(5000),
                     [&](const Verdict&) { ++verdicts; });
  const int given_up = pid_in(pid_file);
  probe.reset();
  EXPECT_TRUE(ends(given_up));
  EXPECT_EQ(verdicts, 0);

  std::filesystem::resize_file(pid_file, 0);
  probe = start("#!/bin/sh\necho $$ $PPID > " + pid_file.string() + "\nsleep 60\n", milliseconds(5000),
                [&](const Verdict&) { ++verdicts; });
  const int left = pid_in(pid_file);
  probe.reset();
  prober_.reset();
  EXPECT_TRUE(ends(left)) << "nor with the prober";
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(ExecProberTest, StartsAHelperAgainThatHasEnded) {
  EXPECT_TRUE(check("#!/bin/sh\n:\n").healthy);
  // The helper is the only child, and the leader of its group.
  const int helper = pid_of_only_child();
  ASSERT_GT(helper, 0);
  ASSERT_EQ(kill(helper, SIGKILL), 0);
  ASSERT_TRUE(ends(helper));
  EXPECT_TRUE(check("#!/bin/sh\n:\n").healthy);
}

TEST_F(ExecProberTest, LeavesTheChecksToAHelperThatIsThere) {
  EXPECT_TRUE(check("#!/bin/sh\n:\n").healthy);
  const auto other = make_prober();  // as if systemd's were there
  HealthCheckConfig config;
  config.type = CheckType::kExec;
  config.program = "check";
  std::optional<Verdict> verdict;
  auto probe = other->start(*Address::parse("10.0.1.1"), config, [&](const Verdict& v) { verdict = v; });
  ASSERT_TRUE(run_until(io_, [&] { return verdict.has_value(); }));
  EXPECT_TRUE(verdict->healthy);
  const int helper = pid_of_only_child();
  prober_.reset();
  ASSERT_TRUE(ends(helper));
  verdict.reset();
  probe = other->start(*Address::parse("10.0.1.1"), config, [&](const Verdict& v) { verdict = v; });
  ASSERT_TRUE(run_until(io_, [&] { return verdict.has_value(); }));
  EXPECT_TRUE(verdict->says_nothing) << "that is no fault of the backend's";
  EXPECT_EQ(verdict->detail, "the checker cannot: connect: No such file or directory");
}

TEST_F(ExecProberTest, TakesNobodysPlaceForALackOfDescriptors) {
  EXPECT_TRUE(check("#!/bin/sh\n:\n").healthy);
  const int helper = pid_of_only_child();
  prober_.swap(first_);  // it keeps its helper
  prober_ = make_prober();
  rlimit usual{};
  getrlimit(RLIMIT_NOFILE, &usual);
  const int next = dup(0);
  close(next);
  const rlimit least{static_cast<rlim_t>(next) + 2, usual.rlim_max};  // for the output's pipe, and no socket
  setrlimit(RLIMIT_NOFILE, &least);
  const Verdict verdict = check_as_it_is();
  setrlimit(RLIMIT_NOFILE, &usual);
  EXPECT_EQ(verdict.detail, "the checker cannot: socket: Too many open files");
  EXPECT_TRUE(check_as_it_is().healthy);
  EXPECT_EQ(pid_of_only_child(), helper) << "and no second one";
}

TEST_F(ExecProberTest, SaysNothingWhereThereIsNoHelper) {
  prober_ = make_exec_prober(io_, folder_.path(), folder_.path() / "checks.sock", folder_.path() / "none");
  const Verdict verdict = check("#!/bin/sh\n:\n");
  EXPECT_TRUE(verdict.says_nothing);
  EXPECT_EQ(verdict.detail,
            "the checker cannot: " + (folder_.path() / "none").string() + ": No such file or directory");
}

}  // namespace
}  // namespace linimo
