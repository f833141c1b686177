// One thread's event loop over epoll: descriptors, signals, a clock. The data plane's control thread runs
// one; the packet path has nothing to do with it.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <vector>

#include "maglev/unique_fd.h"

namespace linimo {

class EventLoop {
 public:
  using Callback = std::function<void()>;

  EventLoop();

  /// Calls back while the descriptor is readable or hung up. The caller keeps the descriptor open until
  /// `remove`.
  void add(int fd, Callback on_readable);
  void remove(int fd);

  /// Calls back about every `period`, until `end`. Throws std::system_error where there is no descriptor.
  int every(std::chrono::milliseconds period, Callback callback);
  /// `timer`: of `every`.
  void end(int timer);

  /// Blocks the signals for the calling thread (call before starting others) and calls back instead.
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> callback);

  /// Until `stop` is called, from a callback.
  void run();

  /// Serves what is ready, waiting for something at most that long.
  void run_once(std::chrono::milliseconds longest);

  void stop() { running_ = false; }

 private:
  UniqueFd epoll_;
  std::map<int, std::shared_ptr<Callback>> callbacks_;
  std::vector<UniqueFd> owned_;
  bool running_ = false;
};

}  // namespace linimo
