// Real etcd members on this machine, for tests: started, killed, frozen, told what an operator would tell
// them.
//
//   Cluster cluster(3);
//   cluster.freeze(0); ... cluster.thaw(0);
//   cluster.ctl({"compact", "7"});          // etcdctl
#pragma once

#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/temporary_folder.h"

namespace linimo {

/// Its output, and what it ended with.
struct Ran {
  int code = 0;
  std::string output;
};
inline Ran run_program(const std::string& command) {
  Ran ran;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen");
  std::array<char, 4096> part;
  while (const size_t length = fread(part.data(), 1, part.size(), pipe))
    ran.output.append(part.data(), length);
  ran.code = pclose(pipe);
  return ran;
}

/// TCP ports that nobody uses at present.
inline std::vector<uint16_t> free_ports(size_t count) {
  std::vector<int> sockets;
  std::vector<uint16_t> ports;
  for (size_t i = 0; i < count; ++i) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    sockets.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (bind(sockets.back(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        getsockname(sockets.back(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
      throw std::runtime_error("no port is free");
    ports.push_back(ntohs(address.sin_port));
  }
  for (const int socket : sockets) close(socket);
  return ports;
}

class Cluster {
 public:
  /// `tls`: more arguments for each member; then endpoints are https.
  explicit Cluster(size_t size, std::vector<std::string> tls = {})
      : tls_(std::move(tls)), clients_(free_ports(size)), peers_(free_ports(size)), pids_(size, 0) {
    for (size_t i = 0; i < size; ++i) start(i);
  }
  ~Cluster() {
    for (size_t i = 0; i < pids_.size(); ++i) kill(i);
  }

  size_t size() const { return pids_.size(); }
  std::string endpoint(size_t member) const { return fmt::format("127.0.0.1:{}", clients_[member]); }
  std::vector<std::string> endpoints() const {
    std::vector<std::string> all;
    for (size_t i = 0; i < size(); ++i) all.push_back(endpoint(i));
    return all;
  }

  void start(size_t member) {
    if (pids_[member] != 0) return;
    std::string initial;
    for (size_t i = 0; i < size(); ++i)
      initial += fmt::format("{}m{}=http://127.0.0.1:{}", i != 0 ? "," : "", i, peers_[i]);
    const std::string scheme = tls_.empty() ? "http" : "https";
    std::vector<std::string> words = {"etcd",
                                      "--name",
                                      fmt::format("m{}", member),
                                      "--data-dir",
                                      (folder_.path() / fmt::format("m{}", member)).string(),
                                      "--listen-client-urls",
                                      fmt::format("{}://{}", scheme, endpoint(member)),
                                      "--advertise-client-urls",
                                      fmt::format("{}://{}", scheme, endpoint(member)),
                                      "--listen-peer-urls",
                                      fmt::format("http://127.0.0.1:{}", peers_[member]),
                                      "--initial-advertise-peer-urls",
                                      fmt::format("http://127.0.0.1:{}", peers_[member]),
                                      "--initial-cluster",
                                      initial,
                                      "--heartbeat-interval",
                                      "50",
                                      "--election-timeout",
                                      "500",
                                      "--unsafe-no-fsync"};
    words.insert(words.end(), tls_.begin(), tls_.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int log = open((folder_.path() / fmt::format("m{}.log", member)).c_str(),
                         O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    pids_[member] = fork();
    if (pids_[member] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(log, 1);
      dup2(log, 2);
      execvp("etcd", arguments.data());
      _exit(127);
    }
    close(log);
  }
  void kill(size_t member) {
    if (pids_[member] == 0) return;
    ::kill(pids_[member], SIGKILL);
    waitpid(pids_[member], nullptr, 0);
    pids_[member] = 0;
  }
  void freeze(size_t member) { ::kill(pids_[member], SIGSTOP); }
  void thaw(size_t member) { ::kill(pids_[member], SIGCONT); }

  /// etcdctl at one member; with `options` before the command.
  Ran ctl(const std::string& command, size_t member = 0, const std::string& options = "") const {
    return run_program(fmt::format("ETCDCTL_API=3 etcdctl --endpoints={}://{} {} {}",
                                   tls_.empty() ? "http" : "https", endpoint(member), options, command));
  }

  std::string log(size_t member) const {
    std::ifstream file(folder_.path() / fmt::format("m{}.log", member));
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::vector<std::string> tls_;
  TemporaryFolder folder_;
  std::vector<uint16_t> clients_;
  std::vector<uint16_t> peers_;
  std::vector<pid_t> pids_;
};

}  // namespace linimo
