// What a worker remembers of the flows that came to it. It alone writes; others may look, by
// ConnectionTable::peek and FragmentMemory::find: ICMP errors and fragments may arrive at another worker than
// their flow.
#pragma once

#include "dataplane/flow/connection_table.h"
#include "dataplane/flow/fragment_memory.h"

namespace linimo {

struct FlowState {
  ConnectionTable connections;
  FragmentMemory fragments;
};

}  // namespace linimo
