// What a change would do to flows, told before it is made. Pure.
//
//   const Disruption told = disruption(before, after, flows_of);
//   told.pools[0].slots_moved;         // exactly as many as will have another backend
//   told.services[0].share_breaking;   // of its live flows
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "maglev/address.h"
#include "maglev/snapshot.h"

namespace linimo {

struct PoolDisruption {
  std::string pool;
  uint32_t slots = 0;           // of the table that is live
  uint32_t slots_moved = 0;     // of them; where the table's size or the seed changes: rounded
  double share_moved = 0;       // of all flows that there could be: other backend, or none
  double share_leaving = 0;     // likewise: their backend lives now, and will not be there or not live
  uint64_t flows = 0;           // that connection tables have now
  uint64_t flows_breaking = 0;  // of them

  bool operator==(const PoolDisruption&) const = default;
};

struct ServiceDisruption {
  std::string service, pool;
  linimo_tracking tracking = LINIMO_TRACKING_FULL;
  double share_breaking = 0;  // of its live flows

  bool operator==(const ServiceDisruption&) const = default;
};

struct Disruption {
  std::vector<PoolDisruption> pools;        // that are live
  std::vector<ServiceDisruption> services;  // likewise
};

/// Live flows of a backend, as connection tables have them; 0 where nobody tracks.
using FlowsOf = std::function<uint64_t(const std::string& pool, const Address& backend)>;

/// Pools and services are compared by name; a service that no longer has all of its VIPs, ports or protocol
/// counts as gone; all pools must have tables. Flows are taken to spread evenly over
/// the slots of their backend.
Disruption disruption(const SnapshotSpec& before, const SnapshotSpec& after, const FlowsOf& flows_of);

}  // namespace linimo
