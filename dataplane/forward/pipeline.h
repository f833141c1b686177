// The packet path: a burst of frames in, each of them to a backend, to the kernel, or dropped with its reason
// counted. One pipeline per worker; `run` is called by that worker alone, takes no lock, makes no system
// call, allocates nothing.
//
//   pipeline.run(burst, in_port, generation, now_ms, out);    // out.transmit[port], out.kernel, out.control
//
// Every mbuf of the burst is in exactly one list of `out` afterwards, or freed.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/flow/connection_table.h"
#include "dataplane/forward/generation.h"
#include "dataplane/forward/next_hop.h"
#include "dataplane/forward/reply_limit.h"
#include "dataplane/packet/parse.h"
#include "maglev/counters.h"

struct rte_mbuf;

namespace linimo {

inline constexpr uint32_t kMaxBurst = 64;
inline constexpr uint32_t kMaxPorts = 8;

struct MbufList {
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  uint32_t count = 0;

  void push(rte_mbuf* mbuf) { mbufs[count++] = mbuf; }
};

/// Frames for the wire, and as what each is to be counted.
struct TransmitList : MbufList {
  std::array<uint8_t, kMaxBurst> counted_as;  // linimo_outcome

  void push(rte_mbuf* mbuf, linimo_outcome outcome) {
    counted_as[count] = static_cast<uint8_t>(outcome);
    MbufList::push(mbuf);
  }
};

/// Where the packets of one burst are to go. `run` adds; the caller empties, and counts what became of them:
/// they are what `counted_as` says, or the kernel's, only once the next queue has taken them, and tx_full or
/// kernel_full otherwise. So each packet is counted once.
struct BurstOutput {
  std::array<TransmitList, kMaxPorts> transmit;
  MbufList kernel;   // frames for the host
  MbufList control;  // those that must not be starved: ARP, ND, BGP, BFD
};

/// Counters have one writer, so an addition needs no atomic instruction, only a store that is not torn.
inline void count(uint64_t& counter, uint64_t by = 1) {
  __atomic_store_n(&counter, counter + by, __ATOMIC_RELAXED);
}

class Pipeline {
 public:
  /// All must outlive the pipeline; `counters` and `connections` are this worker's own.
  Pipeline(std::span<const Mac> port_macs, const NextHopTable& next_hops, ConnectionTable& connections,
           WorkerCounters& counters);

  /// At most kMaxBurst frames. `generation`: null before the first, when every frame is the kernel's.
  /// `in_port`: where they came in, and replies leave. `now_ms`: of any monotonic clock.
  void run(std::span<rte_mbuf* const> burst, uint32_t in_port, const Generation* generation, uint64_t now_ms,
           BurstOutput& out);

 private:
  struct Packet {  // what one stage leaves for the next
    rte_mbuf* mbuf;
    packet::Frame frame;
    packet::Flow flow;
    const ServiceView* service;
    const Target* target;
    uint64_t hash;
  };

  bool admit(rte_mbuf* mbuf, const Generation& generation, Packet& packet, BurstOutput& out);
  void hash_flow(const Generation& generation, Packet& packet);
  bool choose(const Generation& generation, uint32_t now_s, Packet& packet);
  void send(const Packet& packet, BurstOutput& out);
  bool answer_icmp(const Generation& generation, Packet& packet, BurstOutput& out);
  bool drop(rte_mbuf* mbuf, linimo_outcome reason);
  bool to_kernel(rte_mbuf* mbuf, BurstOutput& out);

  std::span<const Mac> port_macs_;
  const NextHopTable& next_hops_;
  ConnectionTable& connections_;
  WorkerCounters& counters_;
  uint32_t in_port_ = 0;  // of the burst that is being run
  uint64_t now_ms_ = 0;
  ReplyLimit echo_limit_;
  std::array<Packet, kMaxBurst> packets_;
};

}  // namespace linimo
