#include "maglev/service_manager.h"

#include <systemd/sd-daemon.h>

namespace linimo {

void ServiceManager::ready() {
  if (!ready_) sd_notify(0, "READY=1");
  ready_ = true;
}

void ServiceManager::alive() {
  sd_notify(0, "WATCHDOG=1");
}

void ServiceManager::look(bool is_alive, const std::string& status) {
  if (is_alive) alive();
  if (status == status_) return;
  sd_notify(0, ("STATUS=" + status).c_str());
  status_ = status;
}

void ServiceManager::main_process(int pid) {
  sd_notify(0, ("MAINPID=" + std::to_string(pid)).c_str());
}

void ServiceManager::stopping() {
  sd_notify(0, "STOPPING=1");
}

}  // namespace linimo
