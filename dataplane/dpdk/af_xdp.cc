#include "dataplane/dpdk/af_xdp.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "maglev/unique_fd.h"

namespace linimo::dpdk {
namespace {

constexpr std::chrono::milliseconds kBetween{2};
constexpr std::chrono::milliseconds kSurely{100};  // for the kernel to free a queue

/// What the kernel has against a socket of zero copies there. It looks first whether the queue is free
/// (EBUSY), and a virtual NIC's driver then has no such sockets (EOPNOTSUPP): so nothing changes. 0: there is
/// one now.
int refusal(int device, uint32_t queue) {
  constexpr uint32_t kChunk = 2048, kMapped = 4 * kChunk;  // the smallest that there may be
  const UniqueFd fd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
  void* memory = mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!fd || memory == MAP_FAILED) return errno;
  xdp_umem_reg area{};
  area.addr = reinterpret_cast<uintptr_t>(memory);
  area.len = kMapped;
  area.chunk_size = kChunk;
  const int entries = 2;
  const auto set = [&](int option, const void* value, socklen_t size) {
    return setsockopt(fd.get(), SOL_XDP, option, value, size) == 0;
  };
  sockaddr_xdp place{};
  place.sxdp_family = AF_XDP;
  place.sxdp_flags = XDP_ZEROCOPY;
  place.sxdp_ifindex = static_cast<uint32_t>(device);
  place.sxdp_queue_id = queue;
  const bool bound =
      set(XDP_UMEM_REG, &area, sizeof area) && set(XDP_UMEM_FILL_RING, &entries, sizeof entries) &&
      set(XDP_UMEM_COMPLETION_RING, &entries, sizeof entries) && set(XDP_RX_RING, &entries, sizeof entries) &&
      bind(fd.get(), reinterpret_cast<sockaddr*>(&place), sizeof place) == 0;
  const int error = bound ? 0 : errno;
  munmap(memory, kMapped);
  return error;
}

}  // namespace

void close_af_xdp_sockets() {
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const int fd = std::atoi(file.path().filename().c_str());
    int family = 0;
    socklen_t size = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) == 0 && family == AF_XDP) close(fd);
  }
}

bool wait_for_free_queue(int device, uint32_t queue, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  int error = refusal(device, queue);
  while (error == EBUSY && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kBetween);
    error = refusal(device, queue);
  }
  if (error == 0) std::this_thread::sleep_for(kSurely);  // there was one of our own, which is closed
  return error != EBUSY;
}

}  // namespace linimo::dpdk
