// The exception path: frames that are not for a VIP, between the workers and the kernel's TAP devices.
//
// A worker only puts a frame on a bounded ring; a thread of this class makes the TAP's system calls. ARP,
// neighbour discovery, BGP and BFD have a ring of their own, emptied first, and so have backends, which
// answer health checks: a flood of junk to the host costs it neither its neighbours nor its routing sessions,
// and takes no backend for dead.
//
//   workers --(a ring for each rank)--> thread --> TAP      per interface
//   first worker <--(inject ring)------ thread <-- TAP
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "dataplane/dpdk/tap.h"
#include "maglev/counters.h"

struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

namespace linimo::dpdk {

class KernelPath {
 public:
  static constexpr uint32_t kBurst = 32;
  enum Rank : uint8_t { kControl, kAnswers, kOther, kRanks };

  /// `counters`: a row of this thread's own.
  explicit KernelPath(WorkerCounters& counters) : counters_(counters) {}
  ~KernelPath() { stop(); }

  /// Before `start`. `pool`: for frames that the kernel sends.
  tl::expected<void, std::string> add(Tap tap, rte_mempool* pool);
  void start();
  void stop();  // the TAPs go

  int tap_index(uint32_t interface) const { return links_[interface].tap.index; }
  const std::string& tap_name(uint32_t interface) const { return links_[interface].tap.name; }
  /// Descriptors of their own, by which the TAPs stay when this path has stopped.
  std::vector<UniqueFd> taps() const;

  /// What the kernel takes for the state of the wire. Control thread.
  void set_carrier(uint32_t interface, bool carrier);
  /// The MAC address by which the kernel answers; why not. Control thread.
  tl::expected<void, std::string> set_mac(uint32_t interface, const Mac& mac);
  /// The longest packet that the kernel sends; why not. Control thread.
  tl::expected<void, std::string> set_mtu(uint32_t interface, uint16_t mtu);

  /// Any worker. Returns how many were taken; the rest remain the caller's.
  uint32_t to_kernel(uint32_t interface, std::span<rte_mbuf* const> frames, Rank rank);

  /// The first worker alone. Frames that the kernel wants sent by an interface.
  uint32_t from_kernel(uint32_t interface, std::span<rte_mbuf*> frames);

 private:
  struct FreeRing {
    void operator()(rte_ring* ring) const;
  };
  using Ring = std::unique_ptr<rte_ring, FreeRing>;
  struct Link {
    Tap tap;
    rte_mempool* pool;
    std::array<Ring, kRanks> outward;
    Ring inject;
  };

  void run();
  uint32_t write_out(const Link& link, Rank rank);
  uint32_t read_in(const Link& link);

  WorkerCounters& counters_;
  std::vector<Link> links_;
  std::atomic<bool> running_ = false;
  std::thread thread_;
};

}  // namespace linimo::dpdk
