#include "maglev/os/device_socket.h"

#include <mutex>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "maglev/unique_fd.h"

namespace linimo {

int device_socket() {
  static std::mutex mutex;
  static UniqueFd kept;
  const std::lock_guard lock(mutex);
  if (!kept) kept = UniqueFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return kept.get();
}

uint32_t device_index(const std::string& name) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof request.ifr_name) return 0;
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  return ioctl(device_socket(), SIOCGIFINDEX, &request) == 0 ? static_cast<uint32_t>(request.ifr_ifindex) : 0;
}

}  // namespace linimo
