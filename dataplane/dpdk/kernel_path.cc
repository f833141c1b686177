#include "dataplane/dpdk/kernel_path.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <pthread.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dataplane/forward/pipeline.h"
#include "maglev/os/device_socket.h"

namespace linimo::dpdk {
namespace {

constexpr unsigned kRingSize = 1024;
constexpr uint32_t kShortestWait_us = 20, kLongestWait_us = 400;

/// In all the buffers that it came in.
bool write_frame(int fd, const rte_mbuf& frame) {
  std::array<iovec, 64> parts;
  size_t count = 0;
  for (const rte_mbuf* part = &frame; part != nullptr; part = part->next) {
    if (count == parts.size()) return false;
    parts[count++] = {rte_pktmbuf_mtod(part, void*), rte_pktmbuf_data_len(part)};
  }
  return writev(fd, parts.data(), static_cast<int>(count)) >= 0;
}

}  // namespace

void KernelPath::FreeRing::operator()(rte_ring* ring) const {
  void* mbuf = nullptr;
  while (rte_ring_dequeue(ring, &mbuf) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
  rte_ring_free(ring);
}

tl::expected<void, std::string> KernelPath::add(Tap tap, rte_mempool* pool) {
  const auto ring = [&](const char* purpose, unsigned flags) {
    return Ring(
        rte_ring_create(fmt::format("{}_{}", tap.name, purpose).c_str(), kRingSize, SOCKET_ID_ANY, flags));
  };
  Link link{.tap = {},
            .pool = pool,
            .outward = {ring("control", RING_F_SC_DEQ), ring("answers", RING_F_SC_DEQ),
                        ring("other", RING_F_SC_DEQ)},
            .inject = ring("inject", RING_F_SP_ENQ | RING_F_SC_DEQ)};
  const bool complete =
      std::all_of(link.outward.begin(), link.outward.end(), [](const Ring& made) { return made != nullptr; });
  if (!complete || !link.inject) {
    return tl::unexpected(fmt::format("{}: no memory for its rings: {}", tap.name, rte_strerror(rte_errno)));
  }
  link.tap = std::move(tap);
  links_.push_back(std::move(link));
  return {};
}

std::vector<UniqueFd> KernelPath::taps() const {
  std::vector<UniqueFd> copies;
  for (const Link& link : links_) copies.emplace_back(fcntl(link.tap.fd.get(), F_DUPFD_CLOEXEC, 0));
  return copies;
}

void KernelPath::set_carrier(uint32_t interface, bool carrier) {
  dpdk::set_carrier(links_[interface].tap, carrier);
}

tl::expected<void, std::string> KernelPath::set_mac(uint32_t interface, const Mac& mac) {
  ifreq request{};
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.data(), mac.size());
  if (ioctl(links_[interface].tap.fd.get(), SIOCSIFHWADDR, &request) == 0) return {};
  return tl::unexpected(fmt::format("{}: the MAC address: {}", tap_name(interface), std::strerror(errno)));
}

tl::expected<void, std::string> KernelPath::set_mtu(uint32_t interface, uint16_t mtu) {
  ifreq request{};
  tap_name(interface).copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_mtu = mtu;
  if (ioctl(device_socket(), SIOCSIFMTU, &request) == 0) return {};
  return tl::unexpected(fmt::format("{}: an MTU of {}: {}", tap_name(interface), mtu, std::strerror(errno)));
}

void KernelPath::start() {
  running_ = true;
  thread_ = std::thread([this] { run(); });
}

void KernelPath::stop() {
  running_ = false;
  if (thread_.joinable()) thread_.join();
  links_.clear();
}

uint32_t KernelPath::to_kernel(uint32_t interface, std::span<rte_mbuf* const> frames, Rank rank) {
  return rte_ring_mp_enqueue_burst(links_[interface].outward[rank].get(),
                                   reinterpret_cast<void* const*>(frames.data()),
                                   static_cast<unsigned>(frames.size()), nullptr);
}

uint32_t KernelPath::from_kernel(uint32_t interface, std::span<rte_mbuf*> frames) {
  return rte_ring_sc_dequeue_burst(links_[interface].inject.get(), reinterpret_cast<void**>(frames.data()),
                                   static_cast<unsigned>(frames.size()), nullptr);
}

void KernelPath::run() {
  pthread_setname_np(pthread_self(), "linimo-kernel");
  prctl(PR_SET_TIMERSLACK, 1);
  rte_thread_register();  // for a cache of mbufs of its own
  std::vector<pollfd> polled;
  for (const Link& link : links_) polled.push_back({.fd = link.tap.fd.get(), .events = POLLIN, .revents = 0});
  uint32_t wait_us = kShortestWait_us;
  while (running_.load(std::memory_order_relaxed)) {
    uint32_t moved = 0;
    count(counters_.rounds);
    for (const Link& link : links_) {
      for (const Rank rank : {kControl, kAnswers, kOther}) moved += write_out(link, rank);
      moved += read_in(link);
    }
    if (moved != 0) {
      wait_us = kShortestWait_us;
      continue;
    }
    // Workers cannot wake this thread (that would be a system call on the packet path), so it looks again
    // soon.
    const timespec wait{.tv_sec = 0, .tv_nsec = wait_us * 1000L};
    ppoll(polled.data(), polled.size(), &wait, nullptr);
    wait_us = std::min(wait_us * 2, kLongestWait_us);
  }
  rte_thread_unregister();
}

uint32_t KernelPath::write_out(const Link& link, Rank rank) {
  const linimo_outcome outcome = rank == kControl ? LINIMO_OUTCOME_kernel_control : LINIMO_OUTCOME_kernel;
  rte_mbuf* frames[kBurst];
  const uint32_t taken =
      rte_ring_sc_dequeue_burst(link.outward[rank].get(), reinterpret_cast<void**>(frames), kBurst, nullptr);
  for (uint32_t i = 0; i < taken; ++i) {
    const bool written = write_frame(link.tap.fd.get(), *frames[i]);
    count(counters_.outcomes[written ? outcome : LINIMO_OUTCOME_kernel_full]);
    rte_pktmbuf_free(frames[i]);
  }
  return taken;
}

uint32_t KernelPath::read_in(const Link& link) {
  uint32_t taken = 0;
  // A full ring is not read for: the kernel's own queue then fills, which is what tells its senders to slow
  // down.
  while (taken < kBurst && rte_ring_free_count(link.inject.get()) > 0) {
    rte_mbuf* frame = rte_pktmbuf_alloc(link.pool);
    if (frame == nullptr) break;
    const ssize_t length =
        read(link.tap.fd.get(), rte_pktmbuf_mtod(frame, void*), rte_pktmbuf_tailroom(frame));
    if (length <= 0) {
      rte_pktmbuf_free(frame);
      break;
    }
    frame->data_len = static_cast<uint16_t>(length);
    frame->pkt_len = static_cast<uint32_t>(length);
    rte_ring_sp_enqueue(link.inject.get(), frame);
    ++taken;
  }
  return taken;
}

}  // namespace linimo::dpdk
