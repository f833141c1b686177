// Frames that are lost where this program cannot see it: by the kernel, the driver or the NIC, after they
// were sent (transmit) or before they came here (receive). All that is known of them are others' counters.
//
//   LossWatch losses(board, counters_block, "eth0");
//   losses.look({.sent = ..., .transmit_lost = ..., .receive_lost = ...});   // once a second, what they
//   stand at
//
// Adds what is lost to the counters, and keeps the conditions `transmit-works` and `receive-works` of the
// interface. Control thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "dataplane/conditions.h"
#include "maglev/counters.h"

namespace linimo {

/// Sums since whenever the device counts; one that is made anew begins anew.
struct FrameCounts {
  uint64_t sent = 0;  // as this program believes
  uint64_t transmit_lost = 0;
  std::optional<uint64_t> receive_lost = {};  // where somebody counts it
};

class LossWatch {
 public:
  /// A link that is only too slow loses frames too, and nobody is helped if its VIPs go: transmitting works
  /// until at least half is lost in so many looks one after the other. It works again once frames leave and
  /// none is lost; or, since nothing may come any more to try it with, after so many looks without a loss.
  static constexpr uint32_t kLooks = 3, kRetryLooks = 60;

  LossWatch(ConditionBoard& board, CountersBlock& counters, std::string interface)
      : board_(board), counters_(counters), interface_(std::move(interface)) {}

  void look(const FrameCounts& now);

 private:
  void judge_transmit(uint64_t lost, uint64_t sent);

  ConditionBoard& board_;
  CountersBlock& counters_;
  std::string interface_;
  std::optional<FrameCounts> before_;
  uint32_t bad_looks_ = 0, quiet_looks_ = 0;
  bool transmits_ = true;
};

/// Packets that were sent, by the outcomes of all workers.
uint64_t packets_sent(const CountersBlock& counters);

}  // namespace linimo
