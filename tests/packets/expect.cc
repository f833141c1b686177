#include "tests/packets/expect.h"

#include <algorithm>

#include <fmt/format.h>

#include "maglev/counters.h"

namespace linimo::tests {
namespace {

Left::Way way_of(const Step& step) {
  if (step.possible.empty()) return Left::Way::kDropped;
  const bool kernel = step.outcome == LINIMO_OUTCOME_kernel || step.outcome == LINIMO_OUTCOME_kernel_control;
  return kernel ? Left::Way::kKernel : Left::Way::kSent;
}

const char* name_of(Left::Way way) {
  return way == Left::Way::kDropped ? "dropped" : way == Left::Way::kKernel ? "the kernel's" : "sent";
}

size_t first_difference(ByteView a, ByteView b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

std::string difference_from(const Step& step, const Left& left, std::set<size_t>* chosen) {
  const Left::Way way = way_of(step);
  if (left.way != way) return fmt::format("is {}, should be {}", name_of(left.way), name_of(way));
  if (way == Left::Way::kDropped) return "";
  size_t closest = 0;
  for (size_t i = 0; i < step.possible.size(); ++i) {
    const Output& possible = step.possible[i];
    if (possible.bytes == left.bytes && possible.port == left.port) {
      if (chosen != nullptr) chosen->insert(i);
      return "";
    }
    if (first_difference(left.bytes, possible.bytes) >
        first_difference(left.bytes, step.possible[closest].bytes)) {
      closest = i;
    }
  }
  const Output& wanted = step.possible[closest];
  return fmt::format("first difference at byte {} of {}:\n  out    {} by port {}\n  wanted {} by port {}",
                     first_difference(left.bytes, wanted.bytes), left.bytes.size(), hex(left.bytes),
                     left.port, hex(wanted.bytes), wanted.port);
}

std::string difference_from(const Step& step, const Result& result, std::set<size_t>* chosen) {
  if (!result.fault.empty()) return result.fault;
  if (result.counter != step.outcome) {
    return fmt::format("counted as {}, should be {}", outcome_name(result.counter),
                       outcome_name(step.outcome));
  }
  return difference_from(step, static_cast<const Left&>(result), chosen);
}

}  // namespace linimo::tests
