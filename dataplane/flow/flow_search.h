// Which flows the connection tables have, for an operator: by service, backend and client.
//
// An entry tells a flow by what is left of a keyed hash, so nobody can read addresses off it. Whose flows are
// sought is therefore known beforehand: each port of the client is tried against each VIP and port of the
// services, which takes 65,535 look-ups for each pair. Each meets other entries, and takes one for the
// client's with probability 2^-20; how many it met is said.
//
// A search goes on from where the part before it ended and takes at most about a millisecond, whatever is
// asked: the control thread has other things to do. Pure but for what it reads beside the tables' owners.
#pragma once

#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "dataplane/flow/flow_tables.h"
#include "maglev/protocol.h"
#include "maglev/snapshot.h"

namespace linimo {

/// Look-ups of one search, in all its parts.
inline constexpr uint64_t kMostLookups = uint64_t{1} << 24;
/// Entries that are removed in one part.
inline constexpr size_t kMostClearedFlows = 512;

/// The next part. `places`: those to be removed, if the question says so. The question may be hostile; the
/// error says what is wrong with it, or that there are too many look-ups.
tl::expected<protocol::FoundFlows, std::string> find_flows(const SnapshotView& view, const FlowTables& tables,
                                                           const protocol::FindFlows& question,
                                                           std::vector<FlowPlace>& places);

}  // namespace linimo
