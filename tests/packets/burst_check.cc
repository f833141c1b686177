#include "tests/packets/burst_check.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "tests/packets/case_file.h"
#include "tests/packets/tunnel_check.h"

namespace linimo::tests {

std::string fault_of_burst(std::span<const ByteView> frames, const BurstResult& result,
                           const Configuration& configuration) {
  if (!result.fault.empty()) return result.fault;
  const uint64_t counted = std::accumulate(result.counts.begin(), result.counts.end(), uint64_t{0});
  if (counted != frames.size()) return fmt::format("{} frames were counted {} times", frames.size(), counted);

  uint64_t sent = 0;
  uint64_t kernel = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    const Left& left = result.left[i];
    std::string fault;
    if (left.way == Left::Way::kSent) {
      ++sent;
      fault = fault_of_tunnel(frames[i], left, configuration);
    } else if (left.way == Left::Way::kKernel) {
      ++kernel;
      if (!std::ranges::equal(frames[i], left.bytes)) fault = "changed on its way to the kernel";
    }
    if (!fault.empty()) return fmt::format("{}\n  in  {}\n  out {}", fault, hex(frames[i]), hex(left.bytes));
  }
  if (sent != result.counts[LINIMO_OUTCOME_forwarded])
    return "sent other frames than were counted as forwarded";
  if (kernel != result.counts[LINIMO_OUTCOME_kernel] + result.counts[LINIMO_OUTCOME_kernel_control]) {
    return "the kernel got other frames than were counted as its";
  }
  return "";
}

}  // namespace linimo::tests
