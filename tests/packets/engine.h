// The one interface through which the suite drives an engine: a configuration, then frames, one at a time.
//
// A case says what must happen; an engine says what did. Nothing here knows how it forwards.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/egress/next_hop.h"
#include "dataplane/forward/traced.h"
#include "maglev/address.h"
#include "maglev/snapshot.h"

namespace linimo::tests {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

/// All that forwarding depends on.
struct Configuration {
  SnapshotSpec snapshot;
  std::vector<Mac> port_macs;
  std::vector<Address> host_addresses;
  std::vector<std::pair<uint32_t, NextHop>> next_hops;  // by backend id
};

/// Where a frame went, and what it was by then.
struct Left {
  enum class Way { kDropped, kKernel, kSent, kHeld };  // kHeld: a fragment whose datagram is not yet known

  Way way = Way::kDropped;
  uint32_t port = 0;             // of kSent
  Bytes bytes;                   // empty where dropped or held
  std::vector<Bytes> more = {};  // further frames of the same packet: its fragments
};

struct Result : Left {
  linimo_outcome counter = LINIMO_OUTCOME_COUNT;  // the one that rose; none while held
  std::string fault;  // a promise that was broken: not exactly one counter, a buffer lost; else empty
};

/// Of tracked flows.
struct FlowTable {
  uint64_t entries = 0;
  uint64_t capacity = 0;
  uint64_t unstored = 0;  // flows that found no place, ever
};

class Engine {
 public:
  virtual ~Engine() = default;

  /// The next generation. Tracked flows stay.
  virtual void apply(const Configuration& configuration) = 0;
  /// Tracked flows, and fragments, whether remembered or held.
  virtual void forget_flows() = 0;
  /// Nothing is forwarded by what there was, nor does it matter to what comes.
  virtual void forget_configuration() = 0;
  /// `now_ms`: of a clock that goes back for nobody but who forgets the flows.
  virtual Result run(ByteView frame, uint64_t now_ms) = 0;
  /// What is done between bursts and once a second. Slots that may settle do; and one result for each held
  /// fragment whose fate is now known, in any order. It was sent (forwarded) or dropped (fragment_unmatched).
  virtual std::vector<Result> pass_time(uint64_t now_ms) = 0;

  /// What it says that it would do with a frame.
  struct Asked {
    Traced traced;
    bool changed;  // what packets change: counters, flows, fragments, slots that are not settled
  };
  virtual Asked ask(ByteView frame, uint64_t now_ms) = 0;

  /// What it has to tell other nodes of flows, and what another has told it.
  virtual std::vector<linimo_flow_word> words_to_tell(uint64_t now_ms) = 0;
  virtual void hear(std::span<const linimo_flow_word> words, uint64_t now_ms) = 0;

  virtual FlowTable flow_table() = 0;
  /// TCP flows that a count at that time finds a backend to have left.
  virtual uint64_t flows_left(uint32_t backend_id, uint64_t now_ms) = 0;
  /// That it has counted of a backend, ever.
  virtual uint64_t repeated_syns(uint32_t backend_id) = 0;
  /// Begins anew, configuration and flows forgotten, with a table for about so many flows.
  virtual void make_room_for(uint64_t flows) = 0;

  static constexpr uint64_t kUsualFlows = 4096;
  static constexpr size_t kMostWords = 512;  // that are taken at a time
};

}  // namespace linimo::tests
