// The one interface through which the suite drives an engine: a configuration, then frames, one at a time.
//
// A case says what must happen; an engine says what did. Nothing here knows how it forwards.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/forward/next_hop.h"
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
  enum class Way { kDropped, kKernel, kSent };

  Way way = Way::kDropped;
  uint32_t port = 0;  // of kSent
  Bytes bytes;        // empty where dropped
};

struct Result : Left {
  linimo_outcome counter = LINIMO_OUTCOME_COUNT;  // the one that rose
  std::string fault;  // a promise that was broken: not exactly one counter, a buffer lost; else empty
};

class Engine {
 public:
  virtual ~Engine() = default;

  /// The next generation. Tracked flows stay.
  virtual void apply(const Configuration& configuration) = 0;
  virtual void forget_flows() = 0;
  /// `now_s`: seconds of a clock that never goes back.
  virtual Result run(ByteView frame, uint32_t now_s) = 0;
};

}  // namespace linimo::tests
