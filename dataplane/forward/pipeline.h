// The packet path: a burst of frames in, each of them to a backend, to the kernel, or dropped with its reason
// counted. One pipeline per worker; `run` is called by that worker alone, takes no lock, makes no system
// call, allocates nothing.
//
//   pipeline.run(burst, in_port, generation, now_ms, out);    // out.transmit[port], out.kernel, ...
//
// Compiled a second time as traced::Pipeline, which tells what it does with a packet and leaves all as it is
// (trace.h).
//
// Every mbuf of the burst is in exactly one list of `out` afterwards, or freed, or held: a fragment whose
// datagram is not known yet. Between bursts, about once a millisecond while something is held:
//
//   pipeline.release_held(generation, now_ms, out);
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "dataplane/egress/next_hop.h"
#include "dataplane/egress/port_macs.h"
#include "dataplane/flow/flow_state.h"
#include "dataplane/flow/flow_words.h"
#include "dataplane/flow/held_fragments.h"
#include "dataplane/flow/told_flows.h"
#include "dataplane/forward/generation.h"
#include "dataplane/forward/lane_path.h"
#include "dataplane/forward/scheduler.h"
#include "dataplane/packet/parse.h"
#include "maglev/counters.h"
#include "maglev/rules/capture.h"
#include "maglev/rules/choice.h"
#include "maglev/rules/reply_limit.h"
#include "maglev/trace.h"

struct rte_mbuf;

namespace linimo {

inline constexpr uint32_t kMaxBurst = 64;
inline constexpr uint32_t kMaxFrames = 2 * kMaxBurst;  // that one list may take: some packets leave in pieces

struct MbufList {
  std::array<rte_mbuf*, kMaxFrames> mbufs;
  uint32_t count = 0;

  void push(rte_mbuf* mbuf) { mbufs[count++] = mbuf; }
  void push_group(const LaneGroup& group) {
    std::memcpy(mbufs.data() + count, group.mbuf, sizeof group.mbuf);
    count += LaneGroup::kLanes;
  }
  void clear() { count = 0; }
};

/// Frames for the wire, and as what each is to be counted.
struct TransmitList : MbufList {
  static constexpr uint8_t kNotCounted = 0xff;   // a fragment of a packet that its last one is counted for
  std::array<uint8_t, kMaxFrames> counted_as{};  // linimo_outcome
  bool all_forwarded = true;                     // as nearly always

  using MbufList::push;  // of what is forwarded
  void push(rte_mbuf* mbuf, linimo_outcome outcome) {
    counted_as[count] = static_cast<uint8_t>(outcome);
    all_forwarded &= outcome == LINIMO_OUTCOME_forwarded;
    push(mbuf);
  }
  void push_uncounted(rte_mbuf* mbuf) {
    counted_as[count] = kNotCounted;
    all_forwarded = false;
    push(mbuf);
  }
  void clear() {
    MbufList::clear();
    if (all_forwarded) return;
    counted_as = {};
    all_forwarded = true;
  }
};
static_assert(LINIMO_OUTCOME_forwarded == 0);

/// Where the packets of one burst are to go. `run` adds; the caller clears, and counts what became of them:
/// they are what `counted_as` says, or the kernel's, only once the next queue has taken them, and tx_full or
/// kernel_full otherwise. So each packet is counted once.
struct BurstOutput {
  std::array<TransmitList, kMaxPorts> transmit;
  // Frames for the host. Those that a flood of others must not starve have lists of their own.
  MbufList control;  // ARP, ND, BGP, BFD
  MbufList answers;  // from whom it checks the health of
  MbufList kernel;   // all others
};

/// Counters have one writer, so an addition needs no atomic instruction, only a store that is not torn.
inline void count(uint64_t& counter, uint64_t by = 1) {
  __atomic_store_n(&counter, counter + by, __ATOMIC_RELAXED);
}

/// A packet of so many bytes. Plain additions, an instruction each: no machine that DPDK runs on stores an
/// aligned word in pieces, and readers are other processes.
inline void count(TrafficCount& traffic, uint64_t bytes) {
  traffic.packets += 1;
  traffic.bytes += bytes;
}

/// What a pipeline remembers of packets, beside the flows.
struct PipelineMemory {
  explicit PipelineMemory(const ConnectionTable& connections) : scheduler(connections) {}

  Scheduler scheduler;
  const ToldFlows* told = nullptr;                 // all workers'; null: nobody tells of flows here
  const FragmentMemory* told_datagrams = nullptr;  // likewise
  linimo_reply_limit echo{}, too_big{}, reject{};
};

/// What became of one packet, up to the queue that takes it.
struct Fate {
  uint32_t outcome = LINIMO_OUTCOME_COUNT;  // linimo_outcome; LINIMO_OUTCOME_COUNT: held
  uint32_t backend = LINIMO_CAPTURE_NONE;   // id, if it got one; as the next two
  uint32_t service = LINIMO_CAPTURE_NONE;
  uint32_t encapsulation = LINIMO_CAPTURE_NONE;
};

#ifdef LINIMO_TRACED
inline namespace traced {
#endif

class Pipeline {
 public:
#ifdef LINIMO_TRACED
  static constexpr bool kTraced = true;
  using Flows = const FlowState;  // which nobody writes then
#else
  static constexpr bool kTraced = false;
  using Flows = FlowState;
#endif

  /// All must outlive the pipeline. `flows`: of all workers, of which number `own` is this one's, as
  /// `counters` is. `memory`: of the pipeline whose answers a traced one is to give.
  Pipeline(const PortMacs& port_macs, const NextHopTable& next_hops, std::span<Flows> flows, uint32_t own,
           WorkerCounters& counters LINIMO_TELL(, const PipelineMemory& memory, linimo_trace& told));
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;

  /// Packets go eight at a time from now on, as far as they can: by `path`, or null: none do. `fewest`: what
  /// is left of a burst is worth a group of its own.
  void go_in_lanes(const LanePath* path, uint32_t fewest = kFewestInLanes) {
    lanes_ = path;
    fewest_in_lanes_ = fewest;
  }
  static constexpr uint32_t kFewestInLanes = 4;
  /// From now on it asks what was told of flows, and says what there is to tell; all outlive it.
  void share_flows(const ToldFlows* told, const FragmentMemory* datagrams, FlowWords* words) {
    memory_.told = told;
    memory_.told_datagrams = datagrams;
    words_ = words;
  }
  /// Packets that did, up to the wire.
  uint64_t went_in_lanes() const {
    return went_in_lanes_;
  }

  /// At most kMaxBurst frames. `generation`: null before the first, when every frame is the kernel's.
  /// `in_port`: where they came in, and replies leave. `now_ms`: of any monotonic clock.
  void run(std::span<rte_mbuf* const> burst, uint32_t in_port, const Generation* generation, uint64_t now_ms,
           BurstOutput& out);

#ifndef LINIMO_TRACED
  /// One frame, and what became of it; `out` must be empty before. For a capture: alone.cc.
  Fate run_alone(rte_mbuf* mbuf, uint32_t in_port, const Generation* generation, uint64_t now_ms,
                 BurstOutput& out);
#endif

  /// Sends held fragments whose datagram is known by now, and drops those that have waited for too long. At
  /// most kMaxBurst leave at a time.
  void release_held(const Generation* generation, uint64_t now_ms, BurstOutput& out);
  uint32_t held() const {
    return held_.count();
  }
  /// For a trace, on any thread: what it sees may be a packet old.
  const PipelineMemory& memory() const {
    return memory_;
  }

 private:
  struct Packet {  // what one stage leaves for the next
    rte_mbuf* mbuf;
    const uint8_t* ip;
    const ServiceView* service;
    const Target* target;  // once that is chosen
    uint64_t hash;
    uint32_t slot;  // of the pool's table
    uint16_t ip_length;
    uint8_t tcp_flags;
    bool v6;
    Decider decider;
    linimo_outcome sent_as : 8;
    bool judged;  // what follows is known, too
    bool passed;  // another node has passed it on
    packet::Frame frame;
    packet::Flow flow;
  };

  // Eight at a time: in_lanes.cc.
  void run_in_lanes(std::span<rte_mbuf* const> burst, const Generation& generation, uint32_t now_s,
                    BurstOutput& out);
  const Target* follow_second(const Generation& generation, uint32_t now_s, const LaneGroup& group,
                              uint32_t lane);
  const Target* follow_unsettled(const Generation& generation, uint32_t now_s, const LaneGroup& group,
                                 uint32_t lane);
  uint32_t follow_lane(const Generation& generation, uint32_t now_s, LaneGroup& group, uint32_t lane,
                       BurstOutput& out);
  void send_group(const LaneContext& context, const Generation& generation, uint32_t n, BurstOutput& out);
  static void leave_lane(const LaneGroup& group, uint32_t lane, Packet& packet);

  bool admit_one(rte_mbuf* mbuf, const Generation& generation, Packet& packet, BurstOutput& out);
  bool choose_one(const Generation& generation, uint32_t now_s, Packet& packet) const;
  void send_one(const Generation& generation, Packet& packet, BurstOutput& out);
  bool admit(rte_mbuf* mbuf, const Generation& generation, Packet& packet, BurstOutput& out);
  template <bool kV6>
  bool recognize(const Generation& generation, const uint8_t* bytes, Packet& packet);
  bool judge(const Generation& generation, Packet& packet, BurstOutput& out);
  static void look_closer(Packet& packet);
  template <bool kV6>
  void look_up(const Generation& generation, uint32_t ports, uint8_t protocol, Packet& packet);
  /// Of a slot that is not settled, if the packet goes elsewhere than to its current backend.
  void note_deviation(const ServiceView& service, uint32_t slot, const Target* target, uint32_t now_s) const {
    if (linimo_deviates(static_cast<uint64_t>(target - service.targets), service.slots[slot]))
      service.unsettled->deviated(own_, slot, now_s);
  }
  const Target* target_of_slot(const Generation& generation, const Packet& packet, bool begins,
                               uint32_t now_s) const;
  const Target* base_of(const Packet& packet, uint32_t now_s) const;
  uint64_t told_of(const Packet& packet, uint32_t now_s) const;
  const Target* usable(const Generation& generation, const Packet& packet, uint32_t backend_id) const;
  void tell_others(const Packet& packet, uint32_t now_s);
  bool choose(const Generation& generation, uint32_t now_s, Packet& packet) const;
  Packet* choose_rest(const Generation& generation, uint32_t now_s, const Packet* end, BurstOutput& out);
  bool follow_entry(const Generation& generation, uint32_t now_s, Packet& packet) const;
  bool recall(const Generation& generation, uint32_t now_s, Packet& packet, BurstOutput& out);
  const Target* scheduled(const Generation& generation, Packet& packet);
  bool remember_flow(const Packet& packet, uint32_t backend_id, uint32_t now_s);
  void send(const Generation& generation, Packet& packet, BurstOutput& out);
  bool no_service(const Generation& generation, const Packet& packet, BurstOutput& out);
  bool drop(rte_mbuf* mbuf, linimo_outcome reason);
  static void wrap(const Target& target, Packet& packet, uint8_t* outer);
  void undeliverable(rte_mbuf* mbuf, NextHop::State why);
  bool to_kernel(rte_mbuf* mbuf, const Generation* generation, BurstOutput& out);

#ifdef LINIMO_TRACED
  // trace.cc
  void tell_rule(const Generation& generation, uint32_t vip, uint8_t protocol, uint16_t port) const;
  void tell_slot(const Packet& packet) const;
  void tell_entry(ConnectionTable::Entry entry, linimo_entry_use use, bool touches, uint32_t now_s) const;
  void tell_target(const Target& target, const NextHopTable::Raw& hop) const;
#endif

  // What is not TCP or UDP on its way to a backend: slow_path.cc, passing.cc.
  bool take_icmp(const Generation& generation, uint32_t vip, Packet& packet, BurstOutput& out);
  bool take_later_fragment(const Generation& generation, Packet& packet);
  void remember_datagram(const Generation& generation, const Packet& packet);
  bool pass_on(const Generation& generation, Packet& packet) const;
  bool take_off_tunnel(const Generation& generation, Packet& packet) const;
  std::optional<FragmentMemory::Choice> recall_datagram(uint64_t datagram) const;
  const Target* named_target(const Generation& generation, Packet& packet) const;
  const Target* tracked_anywhere(const Generation& generation, const Packet& packet) const;
  bool no_backend(const Generation& generation, Packet& packet, BurstOutput& out);
  uint32_t vip_of(const Generation& generation, const uint8_t* bytes, uint32_t length,
                  packet::Frame& frame) const;
  bool gather(const Generation& generation, Packet& packet, BurstOutput& out);
  void too_big(const Generation& generation, Packet& packet, uint32_t mtu, BurstOutput& out);
  void send_in_fragments(rte_mbuf* whole, uint32_t outer_length, uint32_t mtu, linimo_outcome sent_as,
                         TransmitList& transmit);
  bool may_reply(const Generation& generation, linimo_reply_limit& limit, const Packet& packet);
  void reply(rte_mbuf* mbuf, uint32_t growth, uint32_t length, linimo_outcome outcome, BurstOutput& out);

  const PortMacs& port_macs_;
  const NextHopTable& next_hops_;
  std::span<const FlowState> all_flows_;
  uint32_t own_;
  decltype((std::declval<Flows&>().connections)) connections_;
  decltype((std::declval<Flows&>().fragments)) fragments_;
  WorkerCounters& counters_;
  uint32_t in_port_ = 0;  // of the burst that is being run, as the next
  uint64_t in_mac_ = 0;
  uint64_t now_ms_ = 0;
  PipelineMemory memory_;
  uint32_t fragmented_ = 0;  // packets that were sent in fragments
  FlowWords* words_ = nullptr;
  HeldFragments held_;
  bool settling_ = false;
  bool long_headers_ = false;  // the last burst had some that go on in a second cache line
  std::array<Packet, kMaxBurst> packets_;
  const LanePath* lanes_ = nullptr;
  uint32_t fewest_in_lanes_ = kFewestInLanes;
  uint64_t went_in_lanes_ = 0;
  std::array<LaneGroup, kMaxBurst / LaneGroup::kLanes> groups_;
  std::array<uint32_t, kMaxBurst / LaneGroup::kLanes> alone_;  // of a group, in no lane: those to be sent
  LINIMO_TELL(linimo_trace& told_;)
};

#ifdef LINIMO_TRACED
}  // namespace traced
#endif

}  // namespace linimo
