#include "controlplane/tables/drain_watch.h"

#include <algorithm>

namespace linimo {
namespace {

using std::chrono::seconds;

constexpr uint64_t kRounds = 2;  // one may have been under way when the drain began
constexpr seconds kRound{16};    // in which both engines count once

}  // namespace

FlowEnds flow_ends(const Config& config, uint32_t pool) {
  FlowEnds ends;
  for (const ServiceConfig& service : config.services) {
    if (service.pool != pool) continue;
    const seconds timeout(service.idle_timeout_s);
    ends.idle = std::max(ends.idle, timeout);
    if (service.tracking == LINIMO_TRACKING_OFF || service.quic)
      ends.silence = std::max(ends.silence, timeout);
    if (service.tracking == LINIMO_TRACKING_ADAPTIVE) ends.heard_of = std::max(ends.heard_of, timeout);
  }
  return ends;
}

void DrainWatch::forget_others(const std::map<BackendKey, FlowEnds>& draining) {
  std::erase_if(drains_, [&](const auto& entry) { return !draining.contains(entry.first); });
}

std::vector<BackendKey> DrainWatch::update(const std::map<BackendKey, FlowEnds>& draining, uint64_t rounds,
                                           const Look& look, Time now) {
  forget_others(draining);
  std::vector<BackendKey> ended;
  for (const auto& [backend, ends] : draining) {
    const Seen seen = look(backend);
    const auto [entry, is_new] = drains_.try_emplace(backend);
    Drain& drain = entry->second;
    if (is_new) {
      drain = {.begin = now,
               .first_round = rounds,
               .most_flows = seen.flows.all(),
               .most_at = now,
               .packets = seen.packets,
               .last_packet = now,
               .progress = {}};
    }
    const bool was_done = drain.progress.done;
    update(drain, ends, rounds, seen, now);
    if (drain.progress.done && !was_done) ended.push_back(backend);
  }
  return ended;
}

void DrainWatch::update(Drain& drain, const FlowEnds& ends, uint64_t rounds, const Seen& seen, Time now) {
  if (seen.packets != drain.packets) {
    drain.packets = seen.packets;
    drain.last_packet = now;
  }
  const uint64_t flows = seen.flows.all();
  if (flows >= drain.most_flows) {
    drain.most_flows = flows;
    drain.most_at = now;
  }
  const uint64_t counted = rounds - drain.first_round;
  auto left = std::max({std::chrono::ceil<seconds>(drain.begin + ends.heard_of - now),
                        std::chrono::ceil<seconds>(drain.last_packet + ends.silence - now), seconds(0)});
  if (counted < kRounds) left = std::max(left, kRound * static_cast<int64_t>(kRounds - counted));
  drain.progress = {.flows = seen.flows, .done = flows == 0 && left.count() == 0, .left = left};
  if (flows == 0) return;
  // As many end in the time to come as in the time that has passed; whatever happens, all have when nothing
  // has come for as long as a flow is remembered, and has then been counted.
  std::optional<seconds> rest;
  if (ends.idle.count() != 0) rest = std::chrono::ceil<seconds>(drain.last_packet + ends.idle - now) + kRound;
  if (const uint64_t ended = drain.most_flows - flows; ended != 0) {
    const double per_second =
        static_cast<double>(ended) / std::chrono::duration<double>(now - drain.most_at).count();
    const seconds at_this_rate(static_cast<int64_t>(static_cast<double>(flows) / per_second) + 1);
    rest = std::min(rest.value_or(at_this_rate), at_this_rate);
  }
  drain.progress.left = rest ? std::optional(std::max(left, *rest)) : std::nullopt;
}

const DrainWatch::Progress* DrainWatch::find(const BackendKey& backend) const {
  const auto found = drains_.find(backend);
  return found != drains_.end() ? &found->second.progress : nullptr;
}

}  // namespace linimo
