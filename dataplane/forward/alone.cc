// A packet by itself: as it goes in a burst, but its fate is told.

#include <array>
#include <utility>

#include "dataplane/forward/pipeline.h"

namespace linimo {

Fate Pipeline::run_alone(rte_mbuf* mbuf, uint32_t in_port, const Generation* generation, uint64_t now_ms,
                         BurstOutput& out) {
  std::array<uint64_t, LINIMO_OUTCOME_COUNT> before{};
  for (uint32_t outcome = 0; outcome < LINIMO_OUTCOME_COUNT; ++outcome)
    before[outcome] = counters_.outcomes[outcome];
  Packet& packet = packets_.front();
  packet.target = nullptr;
  const LanePath* lanes = std::exchange(lanes_, nullptr);
  run({&mbuf, 1}, in_port, generation, now_ms, out);
  lanes_ = lanes;

  Fate fate;
  if (packet.target != nullptr) {  // only what has one gets as far as the tunnel
    fate.backend = packet.target->backend_id;
    fate.service = packet.service->tracking_key.id;
    fate.encapsulation = packet.target->tunnel.encapsulation;
  }
  for (uint32_t outcome = 0; outcome < LINIMO_OUTCOME_COUNT; ++outcome) {
    if (counters_.outcomes[outcome] != before[outcome]) fate.outcome = outcome;
  }
  if (out.kernel.count != 0 || out.answers.count != 0) fate.outcome = LINIMO_OUTCOME_kernel;
  if (out.control.count != 0) fate.outcome = LINIMO_OUTCOME_kernel_control;
  for (const TransmitList& frames : out.transmit) {
    if (frames.count != 0) fate.outcome = frames.counted_as[frames.count - 1];
  }
  return fate;
}

}  // namespace linimo
