// Fragments that came before the first of their datagram: the program hands them over by AF_XDP
// (bpf/fragment.h), a thread of this process holds them (forward/held_fragments.h), and once the program has
// seen the first one it gets them again and sends them itself. So nothing here knows how a packet is
// forwarded.
//
// It sleeps while nothing is held. Its end leaves fragments out of order to be dropped, and all else as it
// was.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/forward/held_fragments.h"
#include "dataplane/xdp/program.h"

namespace linimo::xdp {

class FragmentThread {
 public:
  /// A receive queue that the program runs on.
  struct Queue {
    std::string device;
    int device_index;
    uint32_t queue;
    uint32_t row;
    int program_fd;
  };

  /// `program` must outlive it. The error says which queue has no AF_XDP, and why.
  static tl::expected<std::unique_ptr<FragmentThread>, std::string> start(Program& program,
                                                                          const std::vector<Queue>& queues);
  ~FragmentThread();
  FragmentThread(const FragmentThread&) = delete;

 private:
  class Socket;
  struct Fragment;

  explicit FragmentThread(Program& program);
  void run();
  void take(Socket& socket, uint64_t now_ms);
  void settle(uint64_t now_ns);
  void count_unmatched();

  Program& program_;
  WorkerCounters& counters_;
  std::vector<std::unique_ptr<Socket>> sockets_;
  HeldFragments held_;
  UniqueFd wake_;
  std::atomic<bool> running_ = true;
  std::thread thread_;
};

}  // namespace linimo::xdp
