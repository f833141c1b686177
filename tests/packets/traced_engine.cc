#include "tests/packets/traced_engine.h"

#include <algorithm>

#include <fmt/format.h>

#include "maglev/counters.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/fragments_check.h"
#include "tests/packets/xdp_engine.h"

namespace linimo::tests {
namespace {

std::string name_of(uint32_t outcome) {
  return outcome < LINIMO_OUTCOME_COUNT ? outcome_name(static_cast<linimo_outcome>(outcome)) : "held";
}

bool is_tunnelled(uint32_t outcome) {
  return outcome == LINIMO_OUTCOME_forwarded || outcome == LINIMO_OUTCOME_icmp_error ||
         outcome == LINIMO_OUTCOME_fragment_passed;
}

/// What would leave, as a result has it.
Left left_of(const Traced& traced) {
  Left left;
  left.port = traced.port;
  if (traced.frames.empty()) return left;
  const uint32_t outcome = traced.told.outcome;
  const bool kernel = outcome == LINIMO_OUTCOME_kernel || outcome == LINIMO_OUTCOME_kernel_control;
  left.way = kernel ? Left::Way::kKernel : Left::Way::kSent;
  left.bytes = traced.frames.front();
  left.more.assign(traced.frames.begin() + 1, traced.frames.end());
  return left;
}

/// Where the outer IP header's destination lies.
Bytes outer_destination(const Bytes& frame) {
  size_t type = 12;
  while (type + 2 <= frame.size() && (frame[type] == 0x81 || frame[type] == 0x88)) type += 4;
  const bool v6 = type + 2 <= frame.size() && frame[type] == 0x86;
  const size_t at = type + 2 + (v6 ? 24 : 16), length = v6 ? 16 : 4;
  if (at + length > frame.size()) return {};
  return {frame.begin() + static_cast<long>(at), frame.begin() + static_cast<long>(at + length)};
}

}  // namespace

void TracedEngine::apply(const Configuration& configuration) {
  engine_.apply(configuration);
  packets_ = 0;
  backends_.clear();
  for (const PoolSpec& pool : configuration.snapshot.pools) {
    for (const BackendSpec& backend : pool.backends) backends_.emplace_back(backend.id, backend.address);
  }
}

Result TracedEngine::run(ByteView frame, uint64_t now_ms) {
  if (!asks_next()) return engine_.run(frame, now_ms);
  const Asked asked = engine_.ask(frame, now_ms);
  Result result = engine_.run(frame, now_ms);
  if (result.fault.empty())
    result.fault = asked.changed ? "asking changed something" : difference(asked.traced, result);
  return result;
}

bool TracedEngine::asks_next() {
  const uint32_t number = packets_++;
  return number < kAllOfTheFirst || number % kThenOneOf == 0;
}

std::string TracedEngine::difference(const Traced& traced, const Result& result) const {
  const uint32_t outcome = traced.told.outcome;
  // Room for held fragments is another thread's memory, which a trace does not look into; and a limit of
  // replies has room again when time has passed, which in the kernel it has.
  if (outcome == LINIMO_OUTCOME_COUNT && result.counter == LINIMO_OUTCOME_fragment_unmatched) return "";
  if (outcome == LINIMO_OUTCOME_rate_limited && result.way == Left::Way::kSent &&
      !is_tunnelled(result.counter))
    return "";
  if (outcome != result.counter)
    return fmt::format("trace says {}, it was {}", name_of(outcome), name_of(result.counter));
  if (result.way == Left::Way::kHeld) return traced.frames.empty() ? "" : "trace shows a frame of one held";
  Left told = left_of(traced);
  if (!told.more.empty()) {
    if (std::string fault = clear_identification(told); !fault.empty()) return fault;
  }
  if (told.way != result.way) return "trace lets it leave by another way";
  if (told.bytes != result.bytes || told.more != result.more) return "trace shows another frame";
  if (told.way == Left::Way::kSent && told.port != result.port) return "trace names another port";
  return tunnel_fault(traced);
}

/// The backend is the one that the tunnel leads to, and the steps say so.
std::string TracedEngine::tunnel_fault(const Traced& traced) const {
  const linimo_trace& told = traced.told;
  const bool tunnelled = is_tunnelled(told.outcome);
  if (tunnelled != (told.reached == LINIMO_TRACE_SENT)) return "the steps that trace tells end elsewhere";
  if (!tunnelled) return "";
  if (told.decider == LINIMO_TRACE_BY_NOBODY) return "trace does not say who chose";
  const Bytes to = outer_destination(traced.frames.front());
  for (const auto& [id, address] : backends_) {
    const auto bytes = std::span(address.bytes).last(to.size());
    if (id == told.backend)
      return std::equal(to.begin(), to.end(), bytes.begin()) ? "" : "trace names another backend";
  }
  return "trace names no backend";
}

Engine& traced_dpdk_engine() {
  static TracedEngine engine(dpdk_engine());
  return engine;
}

Engine& traced_xdp_engine() {
  static TracedEngine engine(xdp_engine());
  return engine;
}

}  // namespace linimo::tests
