#include "controlplane/drop_watch.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace linimo {
namespace {

using std::chrono::duration_cast;
using std::chrono::seconds;

// What a name stands for in LINIMO_OUTCOMES is a drop from here on.
constexpr size_t kFirstDrop = LINIMO_OUTCOME_no_service;
constexpr size_t kDrops = LINIMO_OUTCOME_COUNT - kFirstDrop;
// Those that the kernel, a driver or a NIC loses, before or after Linimo has them.
constexpr const char* kLost[] = {"receive_lost", "transmit_lost"};

std::string reason_name(size_t reason) {
  return reason < kDrops ? outcome_name(static_cast<linimo_outcome>(kFirstDrop + reason))
                         : kLost[reason - kDrops];
}

double rate(uint64_t packets, DropWatch::Clock::duration time) {
  return static_cast<double>(packets) / std::chrono::duration<double>(time).count();
}

}  // namespace

std::vector<DropWatch::Change> DropWatch::look(std::span<const uint64_t> counts, Time now) {
  std::vector<Change> changes;
  if (counts_.size() != counts.size()) {  // the first look: what was before is nobody's news
    counts_.assign(counts.begin(), counts.end());
    reasons_.resize(counts.size());
    window_ = {{now, std::vector<uint64_t>(counts.size())}};
    return changes;
  }
  Seen seen{now, {}};
  for (size_t i = 0; i < counts.size(); ++i) {
    reasons_[i].dropped += counts[i] >= counts_[i] ? counts[i] - counts_[i] : counts[i];
    seen.dropped.push_back(reasons_[i].dropped);
  }
  counts_.assign(counts.begin(), counts.end());
  window_.push_back(std::move(seen));
  while (window_.size() > 2 && now - window_[1].at >= kWindow) window_.pop_front();
  const Seen& before = window_.front();
  if (before.at >= now) return changes;

  for (size_t i = 0; i < counts.size(); ++i) {
    Reason& reason = reasons_[i];
    const uint64_t in_window = reason.dropped - before.dropped[i];
    const double per_second = rate(in_window, now - before.at);
    if (in_window >= kFew && per_second >= static_cast<double>(kFew) / seconds(kWindow).count()) {
      reason.last_few = now;
      if (reason.drops) continue;
      const bool soon = reason.ended != Time() && now - reason.ended < 2 * reason.quiet;
      reason.quiet = soon ? std::min(2 * reason.quiet, kLongestQuiet) : kShortestQuiet;
      reason.drops = true;
      reason.began = before.at;
      reason.at_begin = before.dropped[i];
      changes.push_back({.reason = i, .begins = true, .per_second = per_second});
    } else if (reason.drops && now - reason.last_few >= reason.quiet) {
      reason.drops = false;
      reason.ended = now;
      const uint64_t packets = reason.dropped - reason.at_begin;
      const auto time = reason.last_few - reason.began;
      changes.push_back({.reason = i,
                         .begins = false,
                         .per_second = rate(packets, time),
                         .packets = packets,
                         .time = duration_cast<seconds>(time)});
    }
  }
  return changes;
}

void note_drops(DropWatch& watch, const CountersView& counters, EventLog& events, DropWatch::Time now) {
  std::array<uint64_t, kDrops + std::size(kLost)> counts;
  for (size_t i = 0; i < kDrops; ++i)
    counts[i] = counters.outcome(static_cast<linimo_outcome>(kFirstDrop + i));
  counts[kDrops] = counters.receive_lost();
  counts[kDrops + 1] = counters.transmit_lost();
  for (const DropWatch::Change& change : watch.look(counts, now)) {
    const std::string reason = reason_name(change.reason),
                      per_second = fmt::format("{:.1f}", change.per_second);
    if (change.begins) {
      events.note(EventKind::kDrops, log_info, "packets are dropped",
                  {{"reason", reason}, {"per_second", per_second}});
    } else {
      events.note(EventKind::kDrops, log_info, "packets are dropped no more",
                  {{"reason", reason},
                   {"packets", change.packets},
                   {"per_second", per_second},
                   {"seconds", change.time.count()}});
    }
  }
}

}  // namespace linimo
