#include "controlplane/health/exec_prober.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "controlplane/checks/words.h"
#include "controlplane/health/check_helper.h"
#include "controlplane/health/timed_probe.h"
#include "maglev/os/seqpacket.h"

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

class ExecCheck final : public TimedCheck {
 public:
  ExecCheck(boost::asio::io_context& io, std::vector<std::string> argv, std::chrono::milliseconds timeout,
            CheckHelper& helper, Prober::Done done)
      : TimedCheck(io, timeout, std::move(done)),
        argv_(std::move(argv)),
        helper_(helper),
        answers_(io),
        output_(io) {}

 private:
  void begin() override {
    auto run = helper_.run(argv_);
    if (!run) return finish(cannot_check(run.error()));
    own(answers_, std::move(run->answers));
    own(output_, std::move(run->output));
    wait_for_answer();
    wait_for_output();
  }

  void wait_for_answer() {
    answers_.async_wait(boost::asio::posix::descriptor_base::wait_read, guarded(&ExecCheck::on_answer));
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

  void on_answer() {
    const auto message = receive_message(answers_.native_handle(), sizeof(CheckAnswer));
    if (!message) return finish(cannot_check("linimo-checks has ended"));
    if (!*message) return wait_for_answer();
    CheckAnswer answer;
    if ((*message)->bytes.size() != sizeof answer)
      return finish(cannot_check("linimo-checks is another version's"));
    std::memcpy(&answer, (*message)->bytes.data(), sizeof answer);
    if (answer.what != CheckAnswer::kStarted) return conclude(answer);
    if (answer.value != 0) return finish(not_started(answer.value));
    wait_for_answer();
  }

  Verdict not_started(int error) const {
    if (error == EAGAIN) return cannot_check(error);  // no more processes
    return failed_call("exec: " + argv_[0], error);
  }

  void conclude(const CheckAnswer& answer) {
    read_output();  // its last words may still be in the pipe
    if (answer.what != CheckAnswer::kExited)
      return finish({false, fmt::format("exec: ended by signal {}", answer.value)});
    if (answer.value == 0) return finish({true, {}});
    const std::string line = first_line(text_);
    finish({false, fmt::format("exec: exit code {}{}{}", answer.value, line.empty() ? "" : ": ", line)});
  }

  void on_timeout() override {
    end();
    finish({false, fmt::format("exec: not done within {} ms", timeout().count())});
  }

  /// The helper sees it, and kills what there is.
  void end() { answers_.close(); }

  std::vector<std::string> argv_;
  CheckHelper& helper_;
  boost::asio::posix::stream_descriptor answers_;
  boost::asio::posix::stream_descriptor output_;
  std::string text_;
};

class ExecProber final : public Prober {
 public:
  ExecProber(boost::asio::io_context& io, std::filesystem::path folder, std::filesystem::path socket,
             std::filesystem::path helper)
      : io_(io), folder_(std::move(folder)), helper_(std::move(socket), std::move(helper)) {}
  std::unique_ptr<Probe> start(const Address& backend, const HealthCheckConfig& config, Done done) override {
    std::vector<std::string> argv{folder_ / config.program, backend.to_string(), std::to_string(config.port)};
    return std::make_unique<TimedProbe>(
        std::make_shared<ExecCheck>(io_, std::move(argv), config.timeout, helper_, std::move(done)));
  }

 private:
  boost::asio::io_context& io_;
  std::filesystem::path folder_;
  CheckHelper helper_;
};

}  // namespace

std::unique_ptr<Prober> make_exec_prober(boost::asio::io_context& io, std::filesystem::path folder,
                                         std::filesystem::path socket, std::filesystem::path helper) {
  return std::make_unique<ExecProber>(io, std::move(folder), std::move(socket), std::move(helper));
}

}  // namespace linimo
