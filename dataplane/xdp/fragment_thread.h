// What the program cannot do by itself it hands over by AF_XDP (bpf/fragment.h) to a thread of this process:
// - fragments that came before the first of their datagram. They are held (flow/held_fragments.h), and
// once
//   the program has seen the first one it gets them again and sends them itself. So nothing here knows how a
//   packet is forwarded.
// - tunnels of packets that must arrive and are longer than their way takes (oversized.h). They are sent in
//   fragments from here.
//
// It sleeps while nothing is held. Its end leaves these to be dropped, and all else as it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/flow/held_fragments.h"
#include "dataplane/link/log_limit.h"
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
    std::shared_ptr<const std::atomic<int>> program;  // descriptor; another may take its place

    bool operator==(const Queue&) const = default;
  };

  /// `program` must outlive it.
  explicit FragmentThread(Program& program);
  ~FragmentThread();
  FragmentThread(const FragmentThread&) = delete;

  /// Takes fragments from these queues from now on, and from no others. To be said again as often as one
  /// likes: what is open already stays, what could not be opened is tried again. Returns which queue has no
  /// AF_XDP and why, in words; empty: all have. Control thread.
  std::string serve(const std::vector<Queue>& queues);

 private:
  class Socket;
  struct Fragment;
  using Sockets = std::vector<std::shared_ptr<Socket>>;

  void run();
  Sockets sockets();
  void take(Socket& socket, uint64_t now_ms);
  void release_held(uint64_t now_ns);
  linimo_outcome send_in_fragments(const linimo_xdp_handed& handed, std::span<const uint8_t> frame);
  void count(linimo_outcome outcome);

  Program& program_;
  WorkerCounters& counters_;
  std::mutex mutex_;
  Sockets sockets_;  // under the mutex
  HeldFragments held_;
  UniqueFd wake_;
  UniqueFd sender_;          // a packet socket
  uint32_t identification_;  // of the next packet that is sent in fragments
  LogLimit log_;
  std::atomic<bool> running_ = true;
  std::thread thread_;
};

}  // namespace linimo::xdp
