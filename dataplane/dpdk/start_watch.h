// While DPDK starts its control thread hears no signal, and a device that does not answer may hold it for
// ever. So a thread of this class ends the process if it is told to, and says what a long start waits for.
#pragma once

#include <atomic>
#include <string>
#include <thread>

namespace linimo::dpdk {

class StartWatch {
 public:
  /// The calling thread has SIGINT and SIGTERM blocked already. `waits_for`: names of the devices.
  explicit StartWatch(std::string waits_for)
      : waits_for_(std::move(waits_for)), thread_([this] { watch(); }) {}
  ~StartWatch() {
    over_ = true;
    thread_.join();
  }
  StartWatch(const StartWatch&) = delete;

 private:
  void watch() const;

  const std::string waits_for_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace linimo::dpdk
