// The counters: shared memory that the data plane writes and anyone it hands the descriptor to reads.
//
// Each worker writes rows of its own and nobody else's, with plain stores of 64-bit words, so counting costs
// the packet path no atomic operation and no shared cache line. A reader adds the workers' rows up; a sum may
// be a burst behind, and never falls. Rows of services and backends are indexed by their ids, which outlive
// generations, so a count goes on where it was when a table changes.
//
//   auto counters = CountersView::map(fd);               // reader
//   counters->outcome(LINIMO_OUTCOME_forwarded);
//   counters->backend(id).packets;
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "maglev/abi.h"

namespace linimo {

struct TrafficCount {
  uint64_t packets = 0;
  uint64_t bytes = 0;      // of the inner packets, from the IP header on
  uint64_t new_flows = 0;  // entries made in the connection table
  uint32_t tcp_flows = 0;  // of a backend: entries alive, as the last round of the sweep saw them
  uint32_t udp_flows = 0;
};

/// Flows that a backend has.
struct FlowCount {
  uint64_t tcp = 0;
  uint64_t udp = 0;  // QUIC is UDP

  uint64_t all() const { return tcp + udp; }
};

inline constexpr uint64_t kBurstStep_ns = 1024;

/// What one worker counts. Cache lines of one worker are never shared with another's.
struct alignas(4096) WorkerCounters {
  uint64_t outcomes[64];  // by linimo_outcome
  uint64_t busy_ns;       // time spent on bursts that held packets
  uint64_t bursts;        // that held packets
  uint64_t flows;         // entries alive, as the sweep over the connection table last saw them
  uint64_t flows_capacity;
  uint64_t flows_unstored;  // flows that found no place
  uint64_t census_rounds;   // how often the sweep has come round, and flows of backends were counted
  uint64_t rounds;          // of a dpdk thread: it stands still when this does not grow
  uint64_t reserved;        // counts of traffic start on a cache line
  /// By id; the first behind them is of fragments that were passed on to other nodes.
  TrafficCount services[LINIMO_MAX_SERVICES + 2];
  TrafficCount backends[LINIMO_MAX_BACKEND_IDS];
  uint64_t repeated_syns[LINIMO_MAX_BACKEND_IDS];  // of tracked flows: linimo_is_repeated_syn
  /// Of a dpdk thread, bursts by how long they took: less than kBurstStep_ns, than twice that, and so on; the
  /// last has all that took longer.
  uint64_t burst_times[16];
};
static_assert(LINIMO_OUTCOME_COUNT <= 64);
static_assert(sizeof(TrafficCount) == 32 && offsetof(WorkerCounters, services) % 64 == 0);

/// ICMP errors that quote our tunnels to one backend, whichever pools it is in.
struct TunnelErrorCount {
  linimo_addr backend;
  uint64_t errors[4];  // as CountersBlock::tunnel_errors
};

/// The whole of the shared memory: a sealed file, whose pages take no memory until they are touched, or an
/// array map that a BPF program counts in.
struct alignas(4096) CountersBlock {
  uint64_t magic;  // kCountersMagic
  uint32_t abi_version;
  uint32_t workers;                // rows of WorkerCounters that follow
  uint64_t path_mtus_lowered;      // times that a router's word lowered the MTU to a backend
  uint64_t path_mtus_ignored;      // words that were about no tunnel of ours
  uint64_t path_mtus_lowered_now;  // backends to which the MTU is lowered
  uint64_t transmit_lost;          // frames that the kernel, a driver or a NIC lost after they were sent
  uint64_t receive_lost;           // and before they came here
  /// ICMP errors that quote our tunnels: no such protocol, no such port, prohibited, unreachable.
  uint64_t tunnel_errors[4];
  /// The same by backend, of as many as there is room for, in the order in which they were first heard of. A
  /// row is written before it is counted here, and stays.
  uint64_t tunnel_error_backends;
  TunnelErrorCount tunnel_errors_of[80];

  WorkerCounters& worker(uint32_t index) { return reinterpret_cast<WorkerCounters*>(this + 1)[index]; }
  const WorkerCounters& worker(uint32_t index) const {
    return reinterpret_cast<const WorkerCounters*>(this + 1)[index];
  }
};
inline constexpr uint64_t kCountersMagic = 0x544e434f4d4e4c;

size_t counters_size(uint32_t workers);
const char* outcome_name(linimo_outcome outcome);

/// Read-only mapping. Any thread.
class CountersView {
 public:
  /// Maps a descriptor received from the data plane: a sealed file or a BPF array map. Nothing if it is not
  /// what it should be.
  static std::optional<CountersView> map(int fd);

  uint32_t workers() const { return workers_; }
  /// False: those of another process, though it may have the same id. Programs of engine `xdp` share theirs.
  bool shares_memory_with(const CountersView& other) const { return inode_ == other.inode_; }
  uint64_t path_mtus_lowered() const;
  uint64_t path_mtus_ignored() const;
  uint64_t path_mtus_lowered_now() const;
  uint64_t transmit_lost() const;
  uint64_t receive_lost() const;
  uint64_t tunnel_errors(size_t kind) const;
  std::span<const TunnelErrorCount> tunnel_errors_by_backend() const;
  uint64_t outcome(linimo_outcome which) const;
  TrafficCount service(uint32_t id) const;
  TrafficCount backend(uint32_t id) const;  // without its flows, which a sum over time has none of
  uint64_t repeated_syns(uint32_t id) const;
  FlowCount flows_of_backend(uint32_t id) const;
  /// How often every connection table's flows were counted. What began before one round and was not seen by
  /// the next has ended.
  uint64_t census_rounds() const;
  const WorkerCounters& worker(uint32_t index) const { return block_->worker(index); }

 private:
  std::shared_ptr<const CountersBlock> block_;
  uint32_t workers_ = 0;
  uint64_t inode_ = 0;
};

}  // namespace linimo
