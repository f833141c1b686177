#include "tests/packets/expect.h"

#include <algorithm>

#include <fmt/format.h>

#include "maglev/counters.h"

namespace linimo::tests {
namespace {

Left::Way way_of(const Expected& expected) {
  if (expected.held()) return Left::Way::kHeld;
  if (expected.possible.empty()) return Left::Way::kDropped;
  const bool kernel =
      expected.outcome == LINIMO_OUTCOME_kernel || expected.outcome == LINIMO_OUTCOME_kernel_control;
  return kernel ? Left::Way::kKernel : Left::Way::kSent;
}

const char* name_of(Left::Way way) {
  switch (way) {
    case Left::Way::kDropped:
      return "dropped";
    case Left::Way::kKernel:
      return "the kernel's";
    case Left::Way::kSent:
      return "sent";
    case Left::Way::kHeld:
      return "held";
  }
  return "nowhere";
}

const char* counter_name(linimo_outcome outcome) {
  return outcome == LINIMO_OUTCOME_COUNT ? "nothing" : outcome_name(outcome);
}

size_t first_difference(ByteView a, ByteView b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

std::string difference_from(const Expected& expected, const Left& left, Chosen* chosen) {
  const Left::Way way = way_of(expected);
  if (left.way != way) return fmt::format("is {}, should be {}", name_of(left.way), name_of(way));
  if (way == Left::Way::kDropped || way == Left::Way::kHeld) return "";
  size_t closest = 0;
  for (size_t i = 0; i < expected.possible.size(); ++i) {
    const Output& possible = expected.possible[i];
    if (possible.bytes == left.bytes && possible.more == left.more && possible.port == left.port) {
      if (chosen != nullptr) (*chosen)[expected.flow].insert(i);
      return "";
    }
    if (first_difference(left.bytes, possible.bytes) >
        first_difference(left.bytes, expected.possible[closest].bytes)) {
      closest = i;
    }
  }
  const Output& wanted = expected.possible[closest];
  if (left.more.size() != wanted.more.size())
    return fmt::format("leaves in {} frames, should be {}: the first {}", left.more.size() + 1,
                       wanted.more.size() + 1, hex(left.bytes));
  for (size_t i = 0; left.bytes == wanted.bytes && i < left.more.size(); ++i) {
    if (left.more[i] == wanted.more[i]) continue;
    return fmt::format("fragment {} differs at byte {}:\n  out    {}\n  wanted {}", i + 1,
                       first_difference(left.more[i], wanted.more[i]), hex(left.more[i]),
                       hex(wanted.more[i]));
  }
  return fmt::format("first difference at byte {} of {}:\n  out    {} by port {}\n  wanted {} by port {}",
                     first_difference(left.bytes, wanted.bytes), left.bytes.size(), hex(left.bytes),
                     left.port, hex(wanted.bytes), wanted.port);
}

std::string difference_from(const Expected& expected, const Result& result, Chosen* chosen) {
  if (!result.fault.empty()) return result.fault;
  if (result.counter != expected.outcome) {
    return fmt::format("counted as {}, should be {}", counter_name(result.counter),
                       counter_name(expected.outcome));
  }
  return difference_from(expected, static_cast<const Left&>(result), chosen);
}

std::string difference_from(const Step& settles, std::vector<Result> results, Chosen* chosen) {
  for (const Expected& expected : settles.released) {
    std::string closest = "nothing was released";
    const auto found = std::find_if(results.begin(), results.end(), [&](const Result& result) {
      closest = difference_from(expected, result, chosen);
      return closest.empty();
    });
    if (found == results.end()) return "a held frame was not released as it should be: " + closest;
    results.erase(found);
  }
  return results.empty() ? "" : fmt::format("{} more frames were released than should be", results.size());
}

}  // namespace linimo::tests
