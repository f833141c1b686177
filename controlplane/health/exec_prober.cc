#include "controlplane/health/exec_prober.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/health/child_process.h"
#include "controlplane/health/timed_probe.h"

namespace linimo {
namespace {

constexpr size_t kMaxOutput = 4096;
constexpr size_t kMaxDetail = 200;

std::string first_line(const std::string& output) {
  std::string line = output.substr(0, std::min(output.find('\n'), kMaxDetail));
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c > '~'; }, '?');
  return line;
}

/// Processes that were killed. One that hangs in the kernel ends when it can; nobody waits for that.
using Killed = std::vector<int>;

void clear_away(Killed& killed) {
  std::erase_if(killed, [](int pid) { return waitpid(pid, nullptr, WNOHANG) != 0; });
}

class ExecCheck final : public TimedCheck {
 public:
  ExecCheck(boost::asio::io_context& io, std::vector<std::string> argv, std::chrono::milliseconds timeout,
            std::shared_ptr<Killed> killed, Prober::Done done)
      : TimedCheck(io, timeout, std::move(done)),
        argv_(std::move(argv)),
        killed_(std::move(killed)),
        ended_(io),
        output_(io) {}
  ~ExecCheck() override { end(); }

 private:
  void begin() override {
    auto started = start_unprivileged(argv_);
    if (!started) return finish(not_started(started.error()));
    child_ = std::move(*started);
    ended_.assign(child_.ended.release());
    output_.assign(child_.output.release());
    wait_for_end();
    wait_for_output();
  }

  Verdict not_started(int error) const {
    if (error == EAGAIN) return cannot_check(error);  // no more processes
    return failed_call("exec: " + argv_[0], error);
  }

  void wait_for_end() {
    ended_.async_wait(boost::asio::posix::descriptor_base::wait_read, guarded(&ExecCheck::on_ended));
  }

  void wait_for_output() {
    output_.async_wait(boost::asio::posix::descriptor_base::wait_read, guarded(&ExecCheck::on_output));
  }

  void on_output() {
    if (read_output()) wait_for_output();
  }

  /// Takes what is there; false when there is no more to come.
  bool read_output() {
    std::array<char, kMaxOutput + 1> chunk;
    const ssize_t length = read(output_.native_handle(), chunk.data(), chunk.size());
    if (length <= 0) return length < 0 && errno == EAGAIN;
    text_.append(chunk.data(), static_cast<size_t>(length));
    if (text_.size() <= kMaxOutput) return true;
    end();
    finish({false, fmt::format("exec: more than {} bytes of output", kMaxOutput)});
    return false;
  }

  void on_ended() {
    siginfo_t ending{};  // stays zero when it goes on: Asio may call for an event of an earlier descriptor
    if (waitid(P_PID, static_cast<id_t>(child_.pid), &ending, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        ending.si_pid == 0) {
      return wait_for_end();
    }
    read_output();  // its last words may still be in the pipe
    end();  // before it is reaped, while the number of its group is still its own: what it left behind ends
            // too
    if (ending.si_code != CLD_EXITED)
      return finish({false, fmt::format("exec: ended by signal {}", ending.si_status)});
    if (ending.si_status == 0) return finish({true, {}});
    const std::string line = first_line(text_);
    finish({false, fmt::format("exec: exit code {}{}{}", ending.si_status, line.empty() ? "" : ": ", line)});
  }

  void on_timeout() override {
    end();
    finish({false, fmt::format("exec: not done within {} ms", timeout().count())});
  }

  void end() {
    if (child_.pid < 0) return;
    kill(-child_.pid, SIGKILL);
    killed_->push_back(std::exchange(child_.pid, -1));
    clear_away(*killed_);
  }

  std::vector<std::string> argv_;
  std::shared_ptr<Killed> killed_;
  ChildProcess child_;
  boost::asio::posix::stream_descriptor ended_;
  boost::asio::posix::stream_descriptor output_;
  std::string text_;
};

class ExecProber final : public Prober {
 public:
  ExecProber(boost::asio::io_context& io, std::filesystem::path folder)
      : io_(io), folder_(std::move(folder)) {}
  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    clear_away(*killed_);
    std::vector<std::string> argv{folder_ / config.program, backend.to_string(), std::to_string(config.port)};
    return std::make_unique<TimedProbe>(
        std::make_shared<ExecCheck>(io_, std::move(argv), config.timeout, killed_, std::move(done)));
  }

 private:
  boost::asio::io_context& io_;
  std::filesystem::path folder_;
  std::shared_ptr<Killed> killed_ = std::make_shared<Killed>();
};

}  // namespace

std::unique_ptr<Prober> make_exec_prober(boost::asio::io_context& io, std::filesystem::path folder) {
  return std::make_unique<ExecProber>(io, std::move(folder));
}

}  // namespace linimo
