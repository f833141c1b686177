#include "dataplane/dpdk/guardian.h"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <system_error>

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace linimo::dpdk {
namespace {

constexpr int kTapGoneTries = 300;  // of 10 ms: the kernel may take a moment to end a killed process

std::vector<uint8_t> read_all(const std::filesystem::path& file) {
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0) return {};
  std::vector<uint8_t> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

/// Whole or not at all: it may be read after a crash at any moment.
void write_all(const std::filesystem::path& file, std::span<const uint8_t> bytes) {
  std::filesystem::path fresh = file;
  fresh += ".new";
  unlink(fresh.c_str());
  const UniqueFd fd(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd || write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) ||
      rename(fresh.c_str(), file.c_str()) != 0) {
    throw std::system_error(errno, std::generic_category(), file.string());
  }
}

void wait_until_gone(const std::string& device) {
  const timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
  for (int i = 0; i < kTapGoneTries && if_nametoindex(device.c_str()) != 0; ++i) nanosleep(&pause, nullptr);
}

std::vector<std::string> restore(const std::vector<DeviceState>& states) {
  std::vector<std::string> done;
  Netlink netlink;
  for (const DeviceState& state : states) {
    wait_until_gone(state.tap);
    // By its name, as the configuration has it: a device that was made anew gets what the one before had.
    const auto index = static_cast<int>(if_nametoindex(state.name.c_str()));
    if (index == 0) {
      done.push_back(fmt::format("{} is gone; its addresses and routes are lost", state.name));
      continue;
    }
    if (index == state.index) {
      for (const uint32_t mode : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE})
        bpf_xdp_detach(index, mode, nullptr);
    }
    for (const std::string& failure : give_back(netlink, state, index))
      done.push_back(fmt::format("{} does not take back {}", state.name, failure));
    done.push_back(fmt::format("{} has its {} addresses and {} routes back", state.name,
                               state.addresses.size(), state.routes.size()));
  }
  return done;
}

[[noreturn]] void guard(const std::filesystem::path& journal, int alive) {
  setsid();  // the terminal's Ctrl-C is for the data plane alone
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
  prctl(PR_SET_NAME, "linimo-guardian");
  char unused;
  while (read(alive, &unused, 1) < 0 && errno == EINTR) continue;
  try {
    for (const std::string& line : give_back_orphaned(journal)) spdlog::info("guardian: {}", line);
  } catch (const std::exception& error) {
    spdlog::error("guardian: {}", error.what());
    _exit(1);
  }
  _exit(0);
}

}  // namespace

std::vector<std::string> give_back_orphaned(const std::filesystem::path& journal) {
  std::error_code error;
  if (!std::filesystem::exists(journal, error)) return {};
  auto done = restore(deserialize(read_all(journal)));
  std::filesystem::remove(journal, error);
  return done;
}

Guardian::Guardian(std::filesystem::path journal) : journal_(std::move(journal)) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "guardian");
  UniqueFd read_end(ends[0]);
  alive_ = UniqueFd(ends[1]);
  child_ = fork();
  if (child_ < 0) throw std::system_error(errno, std::generic_category(), "guardian: fork");
  if (child_ == 0) {
    alive_.reset();
    guard(journal_, read_end.get());
  }
  ended_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, child_, 0)));
  if (!ended_) throw std::system_error(errno, std::generic_category(), "guardian: pidfd_open");
}

void Guardian::protect(const std::vector<DeviceState>& states) {
  write_all(journal_, serialize(states));
}

void Guardian::release() {
  alive_.reset();
  if (!ended_) return;
  pollfd end{.fd = ended_.get(), .events = POLLIN, .revents = 0};
  while (poll(&end, 1, -1) < 0 && errno == EINTR) continue;
  if (child_ > 0) waitpid(std::exchange(child_, -1), nullptr, 0);
  ended_.reset();
  for (const std::string& line : give_back_orphaned(journal_)) spdlog::warn("{}", line);  // it was killed
}

void Guardian::leave() {
  alive_.reset();
  ended_.reset();
  child_ = -1;
}

}  // namespace linimo::dpdk
