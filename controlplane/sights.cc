// What the controller knows of itself: the facts that watched conditions are made of, and those that
// announcement rests on.

#include <algorithm>

#include <fmt/format.h>

#include "controlplane/controller.h"

namespace linimo {
namespace {

constexpr size_t kNamedBackends = 3;

std::string bird_problem(const BirdState& bird) {
  if (!bird.error.empty()) return fmt::format("BIRD: {}", bird.error);
  if (bird.sessions.empty()) return "BIRD has no BGP session";
  const bool any_up = std::any_of(bird.sessions.begin(), bird.sessions.end(),
                                  [](const BgpSession& session) { return session.up; });
  return any_up
             ? ""
             : fmt::format("no BGP session is up: {} {}", bird.sessions[0].protocol, bird.sessions[0].info);
}

std::string checks_late(const HealthMonitor::Lateness& lateness) {
  if (lateness.on_time) return {};
  return fmt::format("health checks are up to {} ms late, and convict nobody meanwhile",
                     lateness.worst.count());
}

std::string checks_lack(const HealthMonitor& monitor) {
  if (std::string lack = monitor.lack(); !lack.empty()) return "health checks say nothing: " + lack;
  const DescriptorLimit& descriptors = monitor.descriptors();
  if (descriptors.enough()) return {};
  return fmt::format("health checks may need {} descriptors, the limit is {}", descriptors.needed,
                     descriptors.limit);
}

std::string fleet_alarms(const FleetMember& member) {
  std::string text;
  for (const auto& [kind, why] : member.alarms())
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", alarm_name(kind), why);
  return text;
}

}  // namespace

std::string Controller::backends_without_way() const {
  if (watch_.ways().without() == 0) return {};
  size_t without = 0, all = 0;
  std::string named;
  for (const PoolConfig& pool : config_.pools) {
    for (const BackendConfig& backend : pool.backends) {
      ++all;
      const char* problem = way_problem({pool.name, backend.address});
      if (problem == nullptr) continue;
      if (without++ >= kNamedBackends) continue;
      named += fmt::format("{}{}/{} ({})", named.empty() ? "" : ", ", pool.name, backend.address.to_string(),
                           problem);
    }
  }
  if (without == 0) return {};
  return fmt::format("{} of {} backends have no way: {}{}", without, all, named,
                     without > kNamedBackends ? ", ..." : "");
}

const char* Controller::way_problem(const BackendKey& backend) const {
  const auto id = ids_.find_backend(backend);
  return id ? watch_.ways().problem(*id) : nullptr;
}

Announcer::Facts Controller::announce_facts() const {
  const auto healthy_in = [this](const std::string& name) -> std::optional<uint32_t> {
    for (const PoolConfig& pool : config_.pools) {
      if (pool.name != name) continue;
      return static_cast<uint32_t>(
          std::count_if(pool.backends.begin(), pool.backends.end(), [&](const BackendConfig& backend) {
            const BackendKey key{name, backend.address};
            const auto id = ids_.find_backend(key);
            return standing(key).health == HealthState::kUp &&
                   !(id && watch_.ways().has_failed(*id, std::chrono::steady_clock::now()));
          }));
    }
    return std::nullopt;
  };
  Announcer::Facts facts;
  facts.decision.serves = watch_.serving().serves;
  facts.decision.tables_known =
      watch_.known() && peer() && (live_generation() != 0 || peer()->snapshot_error.empty());
  facts.decision.health_known = fleet_leads() ? member_->has_caught_up() : monitor_.all_known();
  facts.decision.vips = served_vips(publisher_.live_services(), healthy_in);
  if (member_ != nullptr)
    std::erase_if(facts.decision.vips,
                  [this](const ServedVip& served) { return !member_->may_announce(served.vip); });
  facts.connected = connected();
  facts.device = watch_.serving().device;
  return facts;
}

Sights Controller::sights() const {
  Sights sights;
  sights.connected = connected();
  sights.tables_bytes = publisher_.tables_bytes();
  if (peer()) sights.engine = peer()->engine;
  sights.loss = publisher_.last_loss();
  // Until the health of every backend is known nothing is published, and that is as it should be.
  sights.tables_current = tables_.is(TablesPhase::kCurrent) || !may_plan();
  if (!sights.tables_current) {
    sights.tables_why = !last_refusal().empty() ? fmt::format("refused by the data plane: {}", last_refusal())
                        : !connected()          ? "no data plane is connected"
                                                : "tables are on their way";
  }
  sights.backends_without_way = backends_without_way();
  sights.checks_late = checks_late(monitor_.lateness());
  sights.checks_lack = checks_lack(monitor_);
  for (const auto& [what, why] : unserved_) {
    if (!why.empty())
      sights.unserved += fmt::format("{}{}: {}", sights.unserved.empty() ? "" : "; ", what, why);
  }
  if (member_ != nullptr) sights.fleet_alarms = fleet_alarms(*member_);
  sights.announces = announcer_.config().has_value();
  if (!sights.announces) return sights;
  sights.announce_failure = announcer_.failure();
  sights.announced = !announcer_.routes().empty();
  sights.bird_problem = bird_problem(announcer_.bird());
  sights.bfd_problem = announcer_.bfd_problem();
  return sights;
}

}  // namespace linimo
