#include "dataplane/xdp/fragment_thread.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

#include "dataplane/xdp/oversized.h"

namespace linimo::xdp {
namespace {

constexpr uint32_t kFrames = 512, kFrameBytes = 4096;
constexpr int kSettlePeriod_ms = 1;

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

struct FragmentThread::Fragment {
  std::shared_ptr<const Queue> queue;  // which may be gone meanwhile
  std::vector<uint8_t> frame;          // as it came in
};

/// An AF_XDP socket that only receives.
class FragmentThread::Socket {
 public:
  explicit Socket(const Queue& queue) : queue_(std::make_shared<const Queue>(queue)) {}
  ~Socket() {
    if (socket_ != nullptr) xsk_socket__delete(socket_);
    if (umem_ != nullptr) xsk_umem__delete(umem_);
    if (memory_ != MAP_FAILED) munmap(memory_, kMemory);
  }
  Socket(const Socket&) = delete;

  /// 0 or an errno.
  int open(int xsks_fd) {
    memory_ = mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) return errno;
    const xsk_umem_config umem{.fill_size = kFrames,
                               .comp_size = kFrames,
                               .frame_size = kFrameBytes,
                               .frame_headroom = 0,
                               .flags = 0};
    if (int error = xsk_umem__create(&umem_, memory_, kMemory, &fill_, &completion_, &umem); error != 0)
      return -error;
    xsk_socket_config config{};
    config.rx_size = kFrames;
    config.tx_size = 0;
    config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
    if (int error = xsk_socket__create(&socket_, queue_->device.c_str(), queue_->queue, umem_, &receive_,
                                       nullptr, &config);
        error != 0) {
      return -error;
    }
    uint32_t at = 0;
    if (xsk_ring_prod__reserve(&fill_, kFrames, &at) != kFrames) return ENOSPC;
    for (uint32_t i = 0; i < kFrames; ++i)
      *xsk_ring_prod__fill_addr(&fill_, at + i) = uint64_t{i} * kFrameBytes;
    xsk_ring_prod__submit(&fill_, kFrames);
    const int fd = this->fd();
    return bpf_map_update_elem(xsks_fd, &queue_->row, &fd, BPF_ANY) == 0 ? 0 : errno;
  }

  int fd() const { return xsk_socket__fd(socket_); }
  const std::shared_ptr<const Queue>& queue() const { return queue_; }

  /// Calls `each(data, length)` for every frame that has come, and gives its memory back.
  template <class Each>
  void receive(Each&& each) {
    uint32_t at = 0;
    const uint32_t count = xsk_ring_cons__peek(&receive_, kFrames, &at);
    uint32_t place = 0;
    if (count == 0 || xsk_ring_prod__reserve(&fill_, count, &place) != count) return;
    for (uint32_t i = 0; i < count; ++i) {
      const xdp_desc* frame = xsk_ring_cons__rx_desc(&receive_, at + i);
      each(static_cast<const uint8_t*>(xsk_umem__get_data(memory_, frame->addr)), frame->len);
      *xsk_ring_prod__fill_addr(&fill_, place + i) = frame->addr & ~uint64_t{kFrameBytes - 1};
    }
    xsk_ring_prod__submit(&fill_, count);
    xsk_ring_cons__release(&receive_, count);
  }

 private:
  static constexpr size_t kMemory = size_t{kFrames} * kFrameBytes;

  std::shared_ptr<const Queue> queue_;
  void* memory_ = MAP_FAILED;
  xsk_umem* umem_ = nullptr;
  xsk_socket* socket_ = nullptr;
  xsk_ring_prod fill_{};
  xsk_ring_cons completion_{};
  xsk_ring_cons receive_{};
};

FragmentThread::FragmentThread(Program& program)
    : program_(program),
      counters_(program.process_counters()),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      sender_(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)),
      identification_(std::random_device()()),
      thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), "fragments");
}

std::string FragmentThread::serve(const std::vector<Queue>& queues) {
  const Sockets before = sockets();
  Sockets now;
  std::string failure = sender_ ? "" : "no packet socket to send by";
  for (const Queue& queue : queues) {
    const auto open = std::find_if(before.begin(), before.end(),
                                   [&](const auto& socket) { return *socket->queue() == queue; });
    if (open != before.end()) {
      now.push_back(*open);
      continue;
    }
    auto socket = std::make_shared<Socket>(queue);
    if (const int error = socket->open(program_.map_fd("xsks")); error == 0)
      now.push_back(std::move(socket));
    else
      failure = fmt::format("{}, queue {}: {}", queue.device, queue.queue, std::strerror(error));
  }
  if (now != before) {
    const std::lock_guard lock(mutex_);
    sockets_ = std::move(now);
    eventfd_write(wake_.get(), 1);
  }
  return failure;
}

FragmentThread::Sockets FragmentThread::sockets() {
  const std::lock_guard lock(mutex_);
  return sockets_;
}

FragmentThread::~FragmentThread() {
  running_ = false;
  eventfd_write(wake_.get(), 1);
  if (thread_.joinable()) thread_.join();
  held_.release(~uint64_t{0} / 2, [](uint64_t, void* fragment, bool) {
    delete static_cast<Fragment*>(fragment);
    return true;
  });
}

void FragmentThread::run() {
  Sockets sockets;
  std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}};
  while (running_) {
    poll(polled.data(), polled.size(), held_.count() != 0 ? kSettlePeriod_ms : -1);
    if (eventfd_t ignored = 0; eventfd_read(wake_.get(), &ignored) == 0) {
      sockets = this->sockets();
      polled.resize(1);
      for (const auto& socket : sockets) polled.push_back({socket->fd(), POLLIN, 0});
    }
    const uint64_t now = now_ns();
    for (const auto& socket : sockets) take(*socket, now / 1'000'000);
    release_held(now);
  }
}

void FragmentThread::take(Socket& socket, uint64_t now_ms) {
  socket.receive([&](const uint8_t* data, uint32_t length) {
    linimo_xdp_handed handed;
    if (length <= sizeof handed) return;
    std::memcpy(&handed, data, sizeof handed);
    const std::span frame(data + sizeof handed, length - sizeof handed);
    if (handed.ifindex != 0) {
      count(send_in_fragments(handed, frame));
      return;
    }
    auto fragment = std::make_unique<Fragment>(Fragment{socket.queue(), {frame.begin(), frame.end()}});
    if (held_.hold(handed.datagram, fragment.get(), now_ms))
      static_cast<void>(fragment.release());  // it is held there
    else
      count(LINIMO_OUTCOME_fragment_unmatched);
  });
}

/// What a frame that is too long for its way is to be counted as.
linimo_outcome FragmentThread::send_in_fragments(const linimo_xdp_handed& handed,
                                                 std::span<const uint8_t> frame) {
  const auto pieces = cut_frame(handed, frame, identification_++);
  if (pieces.empty()) return LINIMO_OUTCOME_too_big;
  sockaddr_ll device{};
  device.sll_family = AF_PACKET;
  device.sll_ifindex = static_cast<int>(handed.ifindex);
  for (const auto& piece : pieces) {
    if (sendto(sender_.get(), piece.data(), piece.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&device),
               sizeof device) < 0)
      return LINIMO_OUTCOME_tx_full;
  }
  return static_cast<linimo_outcome>(handed.sent_as);
}

void FragmentThread::release_held(uint64_t now) {
  held_.release(now / 1'000'000, [&](uint64_t datagram, void* held, bool overdue) {
    const bool known = program_.recall_datagram(datagram, now) != 0;
    if (!known && !overdue) return false;
    const std::unique_ptr<Fragment> fragment(static_cast<Fragment*>(held));
    if (!known) {
      count(LINIMO_OUTCOME_fragment_unmatched);
      return true;
    }
    // As if it came in now, on the queue it came in on.
    xdp_md context{};
    context.data_end = static_cast<uint32_t>(fragment->frame.size());
    context.ingress_ifindex = static_cast<uint32_t>(fragment->queue->device_index);
    context.rx_queue_index = fragment->queue->queue;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = fragment->frame.data(),
                .data_size_in = context.data_end, .ctx_in = &context, .ctx_size_in = sizeof context,
                .repeat = 1, .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 1);
    if (bpf_prog_test_run_opts(*fragment->queue->program, &options) != 0) {
      if (const auto kept_out = log_.pass(LogLimit::Clock::now()))
        spdlog::debug("a held fragment could not be sent: {} (and {} before)", std::strerror(errno),
                      *kept_out);
      count(LINIMO_OUTCOME_fragment_unmatched);
    }
    return true;
  });
}

void FragmentThread::count(linimo_outcome outcome) {
  __atomic_fetch_add(&counters_.outcomes[outcome], 1, __ATOMIC_RELAXED);
}

}  // namespace linimo::xdp
