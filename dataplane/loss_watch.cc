#include "dataplane/loss_watch.h"

#include <fmt/format.h>

namespace linimo {
namespace {

constexpr linimo_outcome kSent[] = {LINIMO_OUTCOME_forwarded,    LINIMO_OUTCOME_icmp_error,
                                    LINIMO_OUTCOME_echo_reply,   LINIMO_OUTCOME_too_big_reply,
                                    LINIMO_OUTCOME_reject_reply, LINIMO_OUTCOME_fragment_passed};

uint64_t grown(uint64_t before, uint64_t now) {
  return now >= before ? now - before : now;
}

void add(uint64_t& counter, uint64_t count) {
  __atomic_store_n(&counter, counter + count, __ATOMIC_RELAXED);
}

}  // namespace

void LossWatch::look(const FrameCounts& now) {
  // What was lost before this process looked was another's to count.
  const FrameCounts before = before_.value_or(now);
  before_ = now;
  const uint64_t transmit = grown(before.transmit_lost, now.transmit_lost);
  add(counters_.transmit_lost, transmit);
  judge_transmit(transmit, grown(before.sent, now.sent));
  if (!now.receive_lost) return;
  const uint64_t receive = grown(before.receive_lost.value_or(0), *now.receive_lost);
  add(counters_.receive_lost, receive);
  if (receive == 0)
    board_.set("receive-works", interface_, ConditionState::kHolds);
  else
    board_.set("receive-works", interface_, ConditionState::kFails, "frames are lost before they get here",
               "more workers or queues, or fewer packets");
}

void LossWatch::judge_transmit(uint64_t lost, uint64_t sent) {
  bad_looks_ = lost != 0 && 2 * lost >= sent ? bad_looks_ + 1 : 0;
  quiet_looks_ = lost == 0 ? quiet_looks_ + 1 : 0;
  if (bad_looks_ >= kLooks)
    transmits_ = false;
  else if (lost == 0 && (sent != 0 || quiet_looks_ >= kRetryLooks))
    transmits_ = true;
  if (transmits_) {
    board_.set("transmit-works", interface_, ConditionState::kHolds,
               lost == 0 ? "" : "some of what is sent is lost by the kernel or the driver");
  } else {
    board_.set("transmit-works", interface_, ConditionState::kFails,
               "at least half of what is sent is lost by the kernel or the driver",
               fmt::format("where it is a veth, at its other end: ethtool -K DEV gro on; see `ethtool -S {}`",
                           interface_));
  }
}

uint64_t packets_sent(const CountersBlock& counters) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < counters.workers; ++i) {
    for (const linimo_outcome outcome : kSent)
      sum += __atomic_load_n(&counters.worker(i).outcomes[outcome], __ATOMIC_RELAXED);
  }
  return sum;
}

}  // namespace linimo
