// A DPDK port that supplies frames and swallows what is sent, as cold as a NIC would hand them over.
//
// Its mbufs go round in the order in which they were sent: 32768 of them, with their headers and frames 8 MB,
// several times a core's second-level cache. Each is rewritten as the next flow's packet 16384 packets before
// its delivery, so that no frame is in the first or second cache when the worker gets it; as where a NIC puts
// it into the last-level cache. Like a driver, delivery writes the mbuf's header.
//
// The port is a real one (net_null): only its two burst functions are the supply's own.
//
// Usually a frame is there whenever the loop asks. With `Arrivals` frames come when they come, whether the
// loop is ready or not, and what each waits until it is sent goes into a histogram.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "bench/forwarding/arrivals.h"
#include "bench/forwarding/traffic.h"
#include "dataplane/dpdk/eal.h"

struct rte_mbuf;
struct rte_mempool;

namespace linimo::bench {

/// Lets the loops that run at the same time begin and end their measurement together: each goes on,
/// unmeasured, until the last has come so far.
class Meeting {
 public:
  explicit Meeting(unsigned loops) : warming_(loops), measuring_(loops) {}

  void warmed() { --warming_; }
  void measured() { --measuring_; }
  bool all_warmed() const { return warming_ == 0; }
  bool all_measured() const { return measuring_ == 0; }

 private:
  std::atomic<unsigned> warming_, measuring_;
};

class Supply {
 public:
  static constexpr uint32_t kMbufs = 32768;
  static constexpr uint32_t kLead = 16384;  // packets from the writing of a frame to its delivery
  static constexpr uint32_t kFrameRoom = 2048;
  static constexpr uint32_t kBurst = 32;  // as the worker asks for

  /// Takes over that port, which must be started.
  explicit Supply(dpdk::Lane lane);
  ~Supply();
  Supply(const Supply&) = delete;

  struct Run {
    double ns = 0;  // CPU time of this thread for a packet
    uint64_t delivered = 0;
    uint64_t sent = 0;  // of these
  };

  struct Plan {
    uint64_t unmeasured = 0;       // packets of the flows in turn: at least these come first
    uint64_t measured = 0;         // then these. Both are multiples of kBurst
    Arrivals* arrivals = nullptr;  // of the measured ones; null: as fast as the loop takes them
  };

  /// Delivers what is planned to `loop`, which must receive bursts of kBurst from the port until `running` is
  /// false. It becomes false when all loops of the meeting have been measured.
  template <typename Loop>
  Run feed(Traffic& traffic, const Plan& plan, Meeting& meeting, std::atomic<bool>& running, Loop loop) {
    start(traffic, plan, meeting, running);
    loop();
    return finish();
  }

  /// The last frame that was sent, until the next run.
  std::span<const uint8_t> last_sent() const;

 private:
  static uint16_t receive(void* supply, rte_mbuf** mbufs, uint16_t wanted);
  static uint16_t swallow(void* supply, rte_mbuf** mbufs, uint16_t count);
  void start(Traffic& traffic, const Plan& plan, Meeting& meeting, std::atomic<bool>& running);
  bool at_mark();
  Run finish();
  uint16_t deliver(rte_mbuf** mbufs, uint16_t wanted);
  void rewrite(uint64_t position);
  uint8_t* frame_at(uint64_t position) const;
  void top_up();

  rte_mempool* pool_;
  std::vector<rte_mbuf*> ring_;
  std::vector<uint16_t> lengths_;                        // of the frames in the ring
  uint64_t written_ = 0, delivered_ = 0, returned_ = 0;  // counts; positions in the ring, modulo its size
  enum class Stage : uint8_t { kFirst, kWarm, kMeasured, kOver };
  Stage stage_ = Stage::kFirst;
  uint64_t mark_ = 0;  // where, in packets delivered, the stage may end
  uint64_t started_at_ = 0, sent_ = 0;
  double begin_ns_ = 0, end_ns_ = 0;
  Plan plan_;
  Arrivals* arrivals_ = nullptr;  // while they are measured
  Traffic* traffic_ = nullptr;
  Meeting* meeting_ = nullptr;
  std::atomic<bool>* running_ = nullptr;
  const rte_mbuf* last_ = nullptr;
};

}  // namespace linimo::bench
