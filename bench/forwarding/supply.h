// A DPDK port that supplies frames and swallows what is sent, as cold as a NIC would hand them over.
//
// Its mbufs go round in the order in which they were sent: 32768 of them, with their headers and frames 8 MB,
// several times a core's second-level cache. Each is rewritten as the next flow's packet 16384 packets before
// its delivery, so that no frame is in the first or second cache when the worker gets it; as where a NIC puts
// it into the last-level cache. Like a driver, delivery writes the mbuf's header.
//
// The port is a real one (net_null): only its two burst functions are the supply's own.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "bench/forwarding/traffic.h"
#include "dataplane/dpdk/eal.h"

struct rte_mbuf;
struct rte_mempool;

namespace linimo::bench {

class Supply {
 public:
  static constexpr uint32_t kMbufs = 32768;
  static constexpr uint32_t kLead = 16384;  // packets from the writing of a frame to its delivery
  static constexpr uint32_t kFrameRoom = 2048;
  static constexpr uint32_t kBurst = 32;  // as the worker asks for

  /// Takes over the port of that name, which must be started. One per process.
  explicit Supply(dpdk::Lane lane);
  ~Supply();
  Supply(const Supply&) = delete;

  struct Run {
    double ns = 0;      // CPU time of this thread for a packet
    uint64_t sent = 0;  // of all that were delivered
  };

  /// Delivers `unmeasured` packets, of the flows in turn, and then `measured` ones of the traffic, both
  /// multiples of kBurst, to `loop`, which must receive bursts of kBurst from the port until `running` is
  /// false.
  template <typename Loop>
  Run feed(Traffic& traffic, uint64_t unmeasured, uint64_t measured, std::atomic<bool>& running, Loop loop) {
    start(traffic, unmeasured, measured, running);
    loop();
    return finish();
  }

  /// The last frame that was sent, until the next run.
  std::span<const uint8_t> last_sent() const;

 private:
  static uint16_t receive(void* supply, rte_mbuf** mbufs, uint16_t wanted);
  static uint16_t swallow(void* supply, rte_mbuf** mbufs, uint16_t count);
  void start(Traffic& traffic, uint64_t unmeasured, uint64_t measured, std::atomic<bool>& running);
  Run finish();
  uint16_t deliver(rte_mbuf** mbufs, uint16_t wanted);
  void rewrite(uint64_t position);
  uint8_t* frame_at(uint64_t position) const;
  void top_up();

  rte_mempool* pool_;
  std::vector<rte_mbuf*> ring_;
  std::vector<uint16_t> lengths_;                        // of the frames in the ring
  uint64_t written_ = 0, delivered_ = 0, returned_ = 0;  // counts; positions in the ring, modulo its size
  uint64_t measure_from_ = 0, stop_at_ = 0, sent_ = 0;
  double begin_ns_ = 0, end_ns_ = 0;
  Traffic* traffic_ = nullptr;
  std::atomic<bool>* running_ = nullptr;
  const rte_mbuf* last_ = nullptr;
};

}  // namespace linimo::bench
