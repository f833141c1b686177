#include "controlplane/health/check_helper.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controlplane/checks/words.h"
#include "maglev/os/seqpacket.h"

namespace linimo {
namespace {

constexpr int kBacklog = 512;

struct Pipe {
  UniqueFd read, write;
};

tl::expected<Pipe, std::string> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return tl::unexpected(std::string(std::strerror(errno)));
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// With these two descriptors and the usual three's rest alone.
tl::expected<pid_t, std::string> spawn(const std::string& program, int input, int listening) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, listening, kChecksListenFd);
  posix_spawn_file_actions_addclosefrom_np(&files, kChecksListenFd + 1);
  // What ends the control plane by its terminal is not for the helper, which ends with it.
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  char option[] = "--lifeline";
  std::string name = program;
  char* const arguments[] = {name.data(), option, nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &files, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return tl::unexpected(fmt::format("{}: {}", program, std::strerror(error)));
  return pid;
}

}  // namespace

CheckHelper::CheckHelper(std::filesystem::path socket, std::filesystem::path program)
    : socket_(std::move(socket)), program_(std::move(program)) {}

CheckHelper::~CheckHelper() {
  end();
  std::error_code ignored;
  if (own_) std::filesystem::remove(socket_, ignored);
}

void CheckHelper::end() {
  lifeline_.reset();
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(std::exchange(pid_, -1), nullptr, 0);
}

tl::expected<void, std::string> CheckHelper::start() {
  end();
  auto lifeline = make_pipe();
  if (!lifeline) return tl::unexpected(lifeline.error());
  try {
    const UniqueFd listening = listen_seqpacket(socket_, kBacklog);
    const auto pid = spawn(program_, lifeline->read.get(), listening.get());
    if (!pid) return tl::unexpected(pid.error());
    pid_ = *pid;
  } catch (const std::system_error& error) {
    return tl::unexpected(std::string(error.what()));
  }
  lifeline_ = std::move(lifeline->write);
  return {};
}

tl::expected<UniqueFd, std::string> CheckHelper::connected() {
  auto connection = connect_seqpacket(socket_);
  // What this process lacks says nothing of who listens there.
  if (!connection && !connection.error().starts_with("connect: ")) return connection;
  if (!std::exchange(known_, true)) own_ = !connection;
  if (connection || !own_) return connection;
  if (auto started = start(); !started) return tl::unexpected(started.error());
  return connect_seqpacket(socket_);
}

tl::expected<CheckHelper::Run, std::string> CheckHelper::run(const std::vector<std::string>& argv) {
  auto output = make_pipe();
  if (!output) return tl::unexpected(output.error());
  auto connection = connected();
  if (!connection) return tl::unexpected(connection.error());
  fcntl(output->read.get(), F_SETFL, O_NONBLOCK);
  std::string words;
  for (const std::string& word : argv) words.append(word).push_back('\0');
  const int passed[] = {output->write.get()};
  if (auto sent = send_message(connection->get(), std::as_bytes(std::span(words)), passed); !sent) {
    return tl::unexpected(sent.error());
  }
  return Run{.answers = std::move(*connection), .output = std::move(output->read)};
}

std::filesystem::path checks_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).replace_filename("linimo-checks");
}

}  // namespace linimo
