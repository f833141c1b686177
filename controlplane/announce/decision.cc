#include "controlplane/announce/decision.h"

namespace linimo {

const char* drain_phase_name(DrainPhase phase) {
  constexpr const char* kNames[] = {"serving", "draining", "drained"};
  return kNames[static_cast<int>(phase)];
}

std::set<Prefix> AnnounceDecision::served(const std::vector<ServedVip>& vips) const {
  struct Count {
    uint32_t services = 0;
    uint32_t served = 0;
  };
  std::map<Prefix, Count> counts;
  for (const ServedVip& of : vips) {
    Count& count = counts[of.vip];
    ++count.services;
    count.served += of.alive >= config_.min_backends ? 1 : 0;
  }
  std::set<Prefix> result;
  for (const auto& [vip, count] : counts) {
    if (count.served >= (config_.every_service ? count.services : 1)) result.insert(vip);
  }
  return result;
}

std::optional<std::map<Prefix, uint32_t>> AnnounceDecision::wanted(const AnnounceFacts& facts,
                                                                   const std::set<Prefix>& announced,
                                                                   Time now) const {
  std::map<Prefix, uint32_t> routes;
  const DrainPhase drain_phase = phase(now);
  if (drain_phase == DrainPhase::kDrained || !facts.serves) return routes;
  if (!facts.tables_known) return std::nullopt;
  if (!facts.health_known && now < start_ + config_.startup_deadline) return std::nullopt;
  const bool draining = drain_phase == DrainPhase::kDraining;
  for (const Prefix& vip : served(facts.vips)) {
    if (!draining || announced.contains(vip)) routes[vip] = draining ? config_.drain_metric : config_.metric;
  }
  return routes;
}

std::optional<AnnounceDecision::Time> AnnounceDecision::next_change(Time now) const {
  std::optional<Time> next;
  const auto consider = [&](Time time) {
    if (time > now && (!next || time < *next)) next = time;
  };
  consider(start_ + config_.startup_deadline);
  if (draining_since_) consider(*draining_since_ + config_.drain_wait);
  return next;
}

void AnnounceDecision::drain(Time now) {
  if (!draining_since_) draining_since_ = now;
}

DrainPhase AnnounceDecision::phase(Time now) const {
  if (!draining_since_) return DrainPhase::kServing;
  return now < *draining_since_ + config_.drain_wait ? DrainPhase::kDraining : DrainPhase::kDrained;
}

}  // namespace linimo
