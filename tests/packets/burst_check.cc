#include "tests/packets/burst_check.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "tests/packets/case_file.h"
#include "tests/packets/reply_check.h"
#include "tests/packets/tunnel_check.h"

namespace linimo::tests {

std::string fault_of_burst(std::span<const ByteView> frames, const BurstResult& result,
                           const Configuration& configuration) {
  if (!result.fault.empty()) return result.fault;
  const uint64_t counted = std::accumulate(result.counts.begin(), result.counts.end(), uint64_t{0});
  const auto held = static_cast<uint64_t>(std::ranges::count(result.left, Left::Way::kHeld, &Left::way));
  if (counted + held != frames.size()) {
    return fmt::format("{} frames were counted {} times, {} are held", frames.size(), counted, held);
  }

  uint64_t sent = 0;
  uint64_t replies = 0;
  uint64_t kernel = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    const Left& left = result.left[i];
    std::string fault;
    if (left.way == Left::Way::kSent) {
      const bool reply = is_reply(frames[i], left);
      ++(reply ? replies : sent);
      fault = reply ? fault_of_reply(frames[i], left, configuration.port_macs.front())
                    : fault_of_tunnel(frames[i], left, configuration);
    } else if (left.way == Left::Way::kKernel) {
      ++kernel;
      if (!std::ranges::equal(frames[i], left.bytes)) fault = "changed on its way to the kernel";
    }
    if (!fault.empty()) return fmt::format("{}\n  in  {}\n  out {}", fault, hex(frames[i]), hex(left.bytes));
  }
  if (sent != result.counts[LINIMO_OUTCOME_forwarded] + result.counts[LINIMO_OUTCOME_icmp_error])
    return "sent other frames than were counted as forwarded";
  if (replies != result.counts[LINIMO_OUTCOME_echo_reply] + result.counts[LINIMO_OUTCOME_too_big_reply] +
                     result.counts[LINIMO_OUTCOME_reject_reply]) {
    return "answered other frames than were counted as answered";
  }
  if (kernel != result.counts[LINIMO_OUTCOME_kernel] + result.counts[LINIMO_OUTCOME_kernel_control]) {
    return "the kernel got other frames than were counted as its";
  }
  return "";
}

}  // namespace linimo::tests
