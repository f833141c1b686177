#include "tests/packets/captured_check.h"

#include <algorithm>

#include <fmt/format.h>

namespace linimo::tests {
namespace {

bool is(const uint8_t* kept, uint32_t count, uint32_t length, ByteView bytes) {
  return length == bytes.size() && count == std::min<size_t>(length, LINIMO_CAPTURE_SNAP) &&
         std::equal(kept, kept + count, bytes.begin());
}

}  // namespace

BackendCounts backend_counts(const WorkerCounters& counters) {
  BackendCounts counts{};
  for (size_t id = 0; id < counts.size(); ++id) counts[id] = counters.backends[id].packets;
  return counts;
}

std::string backend_fault(uint32_t outcome, uint32_t backend, const BackendCounts& before,
                          const BackendCounts& after) {
  const bool tunnelled = outcome == LINIMO_OUTCOME_forwarded || outcome == LINIMO_OUTCOME_icmp_error;
  if (tunnelled && backend >= after.size()) return "the capture names no backend";
  for (size_t id = 0; id < after.size(); ++id) {
    if (after[id] != before[id] && id != backend)
      return fmt::format("the capture names backend {}, it was {}", backend, id);
  }
  return tunnelled && after[backend] == before[backend] ? "the capture names another backend" : "";
}

std::string captured_fault(const linimo_captured& captured, ByteView frame, const Result& result) {
  if (!is(captured.bytes, captured.in_kept, captured.in_length, frame))
    return "the capture shows another frame as it came";
  if (captured.fragmented != 0)  // which is done elsewhere
    return captured.out_length == 0 ? "" : "the capture shows a frame of one that left in fragments";
  if (captured.outcome != result.counter)
    return fmt::format("the capture says outcome {}, it was {}", captured.outcome, int{result.counter});
  if (result.way != Left::Way::kSent)
    return captured.out_length == 0 ? "" : "the capture shows a frame that did not leave";
  if (captured.out_port != result.port) return "the capture names another port";
  return is(captured.bytes + captured.in_kept, captured.out_kept, captured.out_length, result.bytes)
             ? ""
             : "the capture shows another frame as it left";
}

}  // namespace linimo::tests
