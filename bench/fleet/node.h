// A node: generations and connection tables of the data plane's own code, and its decision where a packet
// goes.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "bench/fleet/settings.h"
#include "dataplane/flow/connection_table.h"
#include "dataplane/flow/told_flows.h"
#include "dataplane/forward/publication.h"

namespace linimo::fleet {

/// What matters of a packet of a TCP connection.
struct Packet {
  uint64_t hash;
  uint32_t slot;
  bool begins;  // SYN
  bool ends;    // FIN
  bool alone;   // nothing follows, not even the handshake's ACK: what a flood makes
};

using Word = linimo_flow_word;

/// Of one worker: receive-side scaling keeps a flow with its worker, so that a node with several is like
/// several with one.
class Node {
 public:
  struct Counts {
    uint64_t asked = 0;     // packets that asked the connection table
    uint64_t unstored = 0;  // flows that found no place in it
    uint64_t untold = 0;    // packets that stood alone, of flows that would have been told of

    Counts& operator+=(const Counts& other) {
      asked += other.asked;
      unstored += other.unstored;
      untold += other.untold;
      return *this;
    }
  };

  // The daemon settles about every second, which for 32 nodes would take most of the time here. Slots may
  // stay unsettled for so much longer than they have to.
  static constexpr uint32_t kSettleEvery_s = 60;
  static constexpr uint32_t kSweepRound_s = 300;

  explicit Node(const Settings& settings);

  static uint16_t port_of(uint32_t mode) { return static_cast<uint16_t>(1000 + mode); }

  void publish(const std::vector<std::byte>& snapshot, uint32_t now_s);

  /// Ask for the memory that `choose` will read: one after the other, a few packets apart.
  void prefetch_slot(const Packet& packet) const {
    tables_[kFull].connections.prefetch(packet.hash);
    __builtin_prefetch(services_[kOff]->slots + packet.slot);
  }
  void prefetch_target(const Packet& packet) const {
    const ServiceView& service = *services_[kOff];
    __builtin_prefetch(&service.targets[service.slots[packet.slot]].backend_id);
  }

  /// The id of the backend that a packet goes to.
  uint32_t choose(Mode mode, const Packet& packet, uint32_t now_s);

  /// What there is to tell since it was asked last.
  std::vector<Word> take_words() { return std::exchange(words_, {}); }
  /// Another node's.
  void hear(const Word& word, uint32_t now_s);
  uint64_t told_flows() const { return told_.entries(); }

  /// Once a second: what the daemon does beside forwarding.
  void keep_house(uint32_t now_s);

  uint64_t entries(Mode mode) const { return mode == kOff ? 0 : tables_[mode].connections.entries(); }
  const Counts& counts(Mode mode) const { return tables_[mode].counts; }
  uint32_t unsettled() const;

 private:
  struct Table {
    Table(uint64_t flows, WorkerCounters& counters);

    Generation::Memory memory;
    ConnectionTable connections;
    FlowCensus census;
    Counts counts;
  };

  /// Where a stranger sends what begins no flow, as long as that counts and lives; else null.
  const Target* base_of(const ServiceView& service, uint32_t slot, uint32_t now_s) const;
  const Target* usable(uint32_t backend_id, const ServiceView& service) const;
  void tell(const Packet& packet, const ServiceView& service, const Target* target, uint32_t now_s);
  static void sweep(Table& table, std::span<const SweptService> services, uint32_t now_s);
  WorkerCounters& counters() { return *reinterpret_cast<WorkerCounters*>(counters_.get()); }

  Publication publication_;
  Generation::Memory counters_;  // that the sweep writes, and nobody reads
  ByMode<const ServiceView*> services_{};
  std::vector<Table> tables_;  // by mode
  ToldFlows told_;
  uint32_t idle_timeout_s_, backends_, table_size_;
  std::vector<Word> words_;
};

}  // namespace linimo::fleet
