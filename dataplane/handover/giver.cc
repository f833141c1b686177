#include "dataplane/handover/giver.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dataplane/handover/taker.h"

namespace linimo::handover {
namespace {

constexpr std::chrono::milliseconds kSignalsLookedFor{20};

uint64_t microseconds(std::chrono::steady_clock::duration time) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
}

/// Without a copy of this process's memory, which devices may be using, and with the one descriptor alone.
tl::expected<pid_t, std::string> spawn(const std::string& program, char** arguments, int link) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&files, link, kLinkFd);
  posix_spawn_file_actions_addclosefrom_np(&files, kLinkFd + 1);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::vector<char*> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  std::string mark = fmt::format("{}={}", kVariable, kLinkFd);
  variables.push_back(mark.data());
  variables.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &files, &attributes, arguments, variables.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return tl::unexpected(fmt::format("{}: {}", program, std::strerror(error)));
  return pid;
}

}  // namespace

int pending_end_signal() {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM}) sigaddset(&ends, signal);
  const timespec at_once{};
  return std::max(sigtimedwait(&ends, nullptr, &at_once), 0);
}

std::string own_program() {
  std::error_code error;
  std::string program = std::filesystem::read_symlink("/proc/self/exe", error).string();
  constexpr std::string_view kReplaced = " (deleted)";
  if (program.ends_with(kReplaced)) program.resize(program.size() - kReplaced.size());
  return program;
}

Giver::~Giver() {
  if (phase_ == Phase::kPreparing) act(Action::kGoOn, "the data plane was asked to end");
}

void Giver::ask(UniqueFd asker) {
  const Step next = step(phase_, Event::kAsked);
  if (next.action == Action::kRefuse) {
    protocol::Upgraded no;
    protocol::set_text(no.error, "another hand-over is under way");
    (void)send_message(asker.get(), protocol::encode(no));
    return;
  }
  asker_ = std::move(asker);
  on(Event::kAsked);
}

void Giver::on(Event event, const std::string& why) {
  const Step next = step(phase_, event);
  phase_ = next.next;
  act(next.action, why.empty() ? "the new process said what it should not" : why);
}

void Giver::act(Action action, const std::string& why) {
  switch (action) {
    case Action::kStart:
      asked_ = Clock::now();
      if (auto started = start(); !started) return on(Event::kEnded, started.error());
      spdlog::info("hand-over: pid {} gets ready to take over", pid_);
      return listen();
    case Action::kLetGo:
      unlisten();
      let_go_ = Clock::now();
      spdlog::info("hand-over: pid {} is ready; letting go", pid_);
      return loop_.stop();
    case Action::kGoOn:
      unlisten();
      end_new_one();
      spdlog::error("hand-over: {}; this process forwards on", why);
      return answer(why + "; the data plane forwards on as before");
    case Action::kLeave:
      spdlog::info("hand-over: pid {} forwards", pid_);
      return answer({});
    case Action::kStartAnew:
      end_new_one();
      manager_.main_process(getpid());
      spdlog::error("hand-over: {}; starting anew", why);
      return answer(why + "; the data plane before starts anew");
    case Action::kRefuse:
    case Action::kNothing:
      return;
  }
}

tl::expected<void, std::string> Giver::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return tl::unexpected<std::string>(std::strerror(errno));
  link_ = UniqueFd(ends[0]);
  const UniqueFd other(ends[1]);
  const auto pid = spawn(own_.program, own_.arguments, other.get());
  if (!pid) return tl::unexpected(pid.error());
  pid_ = *pid;
  return {};
}

void Giver::listen() {
  loop_.add(link_.get(), [this] {
    if (const auto event = heard()) on(event->first, event->second);
  });
  limit_ = loop_.every(kPreparingLimit, [this] {
    on(Event::kTooLate,
       fmt::format("the new process (pid {}) was not ready within {} s", pid_, kPreparingLimit.count()));
  });
}

void Giver::unlisten() {
  if (limit_ < 0) return;
  loop_.remove(link_.get());
  loop_.end(limit_);
  limit_ = -1;
}

std::optional<std::pair<Event, std::string>> Giver::heard() {
  auto message = receive_message(link_.get(), kMostBytes + 1);
  if (message && !*message) return std::nullopt;
  if (!message)
    return std::pair(Event::kEnded,
                     fmt::format("the new process (pid {}) has ended; its words are in the log", pid_));
  const auto& bytes = (*message)->bytes;
  if (const auto failed = protocol::decode<Failed>(bytes))
    return std::pair(Event::kEnded,
                     fmt::format("the new process does not start: {}", protocol::text_of(failed->reason)));
  if (protocol::decode<Forwards>(bytes)) return std::pair(Event::kForwards, std::string());
  const auto prepared = protocol::decode<Prepared>(bytes);
  if (!prepared || prepared->version != own_.is.version)
    return std::pair(Event::kEnded,
                     std::string("the new program's version cannot take over from this one's: restart it"));
  if (prepared->abi != own_.is.abi)
    return std::pair(Event::kEnded, std::string("the control plane could not speak to the new program: "
                                                "restart both daemons, this one first"));
  if (*prepared != own_.is)
    return std::pair(Event::kEnded, std::string("the configuration names another engine, other interfaces "
                                                "or another runtime_dir than are in force: restart the "
                                                "data plane"));
  return std::pair(Event::kPrepared, std::string());
}

void Giver::give(PartKind kind, int fd) {
  Part part;
  part.kind = kind;
  (void)send_message(link_.get(), protocol::encode(part), {&fd, 1});  // who cannot hear it has ended
}

bool Giver::new_one_forwards() {
  // From here on it goes on by itself, whatever becomes of this process.
  spdlog::info("hand-over: let go; pid {} takes over", pid_);
  manager_.main_process(pid_);
  (void)send_message(link_.get(), protocol::encode(Yours{}));
  const auto may_take = giving_limit(std::string_view(own_.is.engine) == "xdp");
  const auto limit = Clock::now() + may_take;
  while (phase_ == Phase::kGiving) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit - Clock::now());
    pollfd ready{.fd = link_.get(), .events = POLLIN, .revents = 0};
    manager_.alive();
    if (left.count() <= 0) {
      on(Event::kTooLate,
         fmt::format("the new process (pid {}) did not forward within {} s", pid_, may_take.count()));
    } else if (poll(&ready, 1, static_cast<int>(std::min(left, kSignalsLookedFor).count())) > 0) {
      if (const auto event = heard()) on(event->first, event->second);
    }
    if (const int signal = pending_end_signal(); signal != 0) {
      spdlog::info("{}: passed on to pid {}", strsignal(signal), pid_);
      asked_to_end_ = true;
      if (pid_ > 0) kill(pid_, signal);
    }
  }
  return pid_ > 0 || asked_to_end_;
}

void Giver::end_new_one() {
  link_.reset();
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Giver::answer(const std::string& error) {
  protocol::Upgraded told;
  told.pid = pid_ > 0 ? static_cast<uint32_t>(pid_) : 0;
  told.took_us = microseconds(Clock::now() - asked_);
  if (let_go_ != Clock::time_point{}) told.away_us = microseconds(Clock::now() - let_go_);
  protocol::set_text(told.engine, protocol::text_of(own_.is.engine));
  protocol::set_text(told.error, error);
  (void)send_message(asker_.get(), protocol::encode(told));
  asker_.reset();
}

}  // namespace linimo::handover
