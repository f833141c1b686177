// What a capture says of a packet, held against what became of it.
#pragma once

#include <array>
#include <string>

#include "maglev/counters.h"
#include "maglev/rules/capture.h"
#include "tests/packets/engine.h"

namespace linimo::tests {

/// Packets of each of the suite's backends, by id.
using BackendCounts = std::array<uint64_t, 128>;
BackendCounts backend_counts(const WorkerCounters& counters);

/// "": it names the backend that the packet was counted for, if it was for one.
std::string backend_fault(uint32_t outcome, uint32_t backend, const BackendCounts& before,
                          const BackendCounts& after);
/// "": frames and outcome are right.
std::string captured_fault(const linimo_captured& captured, ByteView frame, const Result& result);

}  // namespace linimo::tests
