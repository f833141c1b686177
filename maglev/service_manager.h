// What the service manager that started a daemon (systemd) is told of it: that it is ready, that it is alive,
// and how it is, in one line. Nothing happens where there is none. sd_notify(3).
//
//   ServiceManager manager;
//   manager.ready();
//   every second: manager.look(all_threads_go_round, "forwards by generation 12");
//
// One thread.
#pragma once

#include <string>

namespace linimo {

class ServiceManager {
 public:
  /// Once: what was to be done before others may count on this process is done.
  void ready();

  /// Feeds the watchdog of the unit (WatchdogSec=), which kills a process that was not fed for so long.
  void alive();

  /// `status`: told when it is another than before.
  void look(bool is_alive, const std::string& status);

  /// Which process is the service from now on. The unit must let any of its processes say so.
  void main_process(int pid);

  /// This process ends, because it was asked to.
  void stopping();

 private:
  bool ready_ = false;
  std::string status_;
};

}  // namespace linimo
