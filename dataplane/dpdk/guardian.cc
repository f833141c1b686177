#include "dataplane/dpdk/guardian.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <system_error>

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

namespace linimo::dpdk {
namespace {

constexpr int kTapGoneTries = 300;  // of 10 ms: the kernel may take a moment to end a killed process

std::vector<uint8_t> read_all(int fd) {
  struct stat status {};
  fstat(fd, &status);
  std::vector<uint8_t> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

void wait_until_gone(const std::string& device) {
  const timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
  for (int i = 0; i < kTapGoneTries && if_nametoindex(device.c_str()) != 0; ++i) nanosleep(&pause, nullptr);
}

void restore(const std::vector<DeviceState>& states) {
  Netlink netlink;
  for (const DeviceState& state : states) {
    wait_until_gone(state.tap);
    for (const uint32_t mode : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE})
      bpf_xdp_detach(state.index, mode, nullptr);
    for (const std::string& failure : give_back(netlink, state)) {
      spdlog::error("guardian: interface {} does not take back {}", state.index, failure);
    }
  }
}

[[noreturn]] void guard(int journal, int alive) {
  setsid();  // the terminal's Ctrl-C is for the data plane alone
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
  prctl(PR_SET_NAME, "linimo-guardian");
  char unused;
  while (read(alive, &unused, 1) < 0 && errno == EINTR) continue;
  try {
    restore(deserialize(read_all(journal)));
  } catch (const std::exception& error) {
    spdlog::error("guardian: {}", error.what());
    _exit(1);
  }
  _exit(0);
}

}  // namespace

Guardian::Guardian() : journal_(memfd_create("linimo-guardian", MFD_CLOEXEC)) {
  int ends[2];
  if (!journal_ || pipe2(ends, O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "guardian");
  }
  UniqueFd read_end(ends[0]);
  alive_ = UniqueFd(ends[1]);
  child_ = fork();
  if (child_ < 0) throw std::system_error(errno, std::generic_category(), "guardian: fork");
  if (child_ == 0) {
    alive_.reset();
    guard(journal_.get(), read_end.get());
  }
}

void Guardian::protect(const std::vector<DeviceState>& states) {
  const std::vector<uint8_t> bytes = serialize(states);
  if (ftruncate(journal_.get(), 0) != 0 ||
      pwrite(journal_.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::system_error(errno, std::generic_category(), "guardian: journal");
  }
}

void Guardian::release() {
  alive_.reset();
  if (child_ > 0) waitpid(std::exchange(child_, -1), nullptr, 0);
}

}  // namespace linimo::dpdk
