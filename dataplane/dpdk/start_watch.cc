#include "dataplane/dpdk/start_watch.h"

#include <chrono>
#include <csignal>
#include <cstring>
#include <ctime>

#include <spdlog/spdlog.h>
#include <unistd.h>

namespace linimo::dpdk {
namespace {

constexpr auto kLong = std::chrono::seconds(10);

}  // namespace

void StartWatch::watch() const {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  const timespec moment{.tv_sec = 0, .tv_nsec = 20'000'000};
  const auto long_since = std::chrono::steady_clock::now() + kLong;
  bool told = false;
  while (!over_) {
    if (const int signal = sigtimedwait(&signals, nullptr, &moment); signal > 0) {
      spdlog::info("{}: ended while DPDK started", strsignal(signal));
      _exit(0);  // nothing can be taken apart while it is put together; the guardian gives netdevs back
    }
    if (told || std::chrono::steady_clock::now() < long_since) continue;
    told = true;
    spdlog::warn(
        "DPDK has not started within {} s: it waits for {} to answer (a virtio NIC behind an IOMMU needs "
        "iommu_platform=on)",
        kLong.count(), waits_for_);
  }
}

}  // namespace linimo::dpdk
