#include "controlplane/api/views.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/config/values.h"
#include "controlplane/tables/planner.h"

namespace linimo {
namespace {

using nlohmann::json;

json traffic(const TrafficCount& count) {
  return {{"packets", count.packets}, {"bytes", count.bytes}, {"new_flows", count.new_flows}};
}

TrafficCount of_backend(const Controller& controller, const BackendKey& key) {
  const auto id = controller.ids().find_backend(key);
  return controller.counters() && id ? controller.counters()->backend(*id) : TrafficCount{};
}

struct BackendView {
  BackendKey key;
  const BackendConfig& config;
  Standing standing;
  const DrainWatch::Progress* drain;  // null: it does not, or the data plane does not know yet

  bool drains() const { return standing.drains || config.drain || config.weight == 0; }
  const char* state() const {
    if (standing.health != HealthState::kUp) return health_name(standing.health);
    if (drains()) return drain != nullptr && drain->done ? "drained" : "draining";
    return standing.held_back ? "held" : "up";
  }
};

json drain_view(const Controller& controller, const BackendView& backend) {
  if (!backend.drains()) return nullptr;
  const char* wish = controller.drained_by_operator(backend.key)          ? "operator"
                     : backend.config.drain || backend.config.weight == 0 ? "configuration"
                                                                          : "backend";
  json view = {
      {"wish", wish}, {"done", false}, {"tcp_flows", nullptr}, {"udp_flows", nullptr}, {"left_s", nullptr}};
  if (backend.drain == nullptr) return view;
  view["done"] = backend.drain->done;
  view["tcp_flows"] = backend.drain->flows.tcp;
  view["udp_flows"] = backend.drain->flows.udp;
  if (backend.drain->left) view["left_s"] = backend.drain->left->count();
  return view;
}

const char* encapsulation_name(linimo_encapsulation encapsulation) {
  constexpr const char* kNames[] = {"ipip", "gre", "gue"};
  return kNames[encapsulation];
}

json health_view(const std::optional<HealthCheckConfig>& health) {
  if (!health) return nullptr;
  json view = {{"type", kCheckTypeNames[static_cast<int>(health->type)]},
               {"interval_ms", health->interval.count()},
               {"timeout_ms", health->timeout.count()},
               {"rise", health->rise},
               {"fall", health->fall},
               {"detector", kDetectorNames[static_cast<int>(health->detector)]},
               {"through_tunnel", health->tunnel.has_value()},
               {"panic_percent", health->panic},
               {"slow_start_ms", health->slow_start.count()}};
  if (health->port != 0) view["port"] = health->port;
  if (health->type == CheckType::kHttp || health->type == CheckType::kHttps) {
    view["path"] = health->path;
    view["status"] = json::array();
    for (const StatusRange& range : health->statuses) view["status"].push_back({range.first, range.last});
  }
  return view;
}

json optional_text(const std::string& text) {
  return text.empty() ? json(nullptr) : json(text);
}

json flows_view(const std::optional<CountersView>& counters) {
  uint64_t tracked = 0;
  uint64_t capacity = 0;
  uint64_t unstored = 0;
  const auto read = [](const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
  for (uint32_t i = 0; counters && i < counters->workers(); ++i) {
    tracked += read(counters->worker(i).flows);
    capacity += read(counters->worker(i).flows_capacity);
    unstored += read(counters->worker(i).flows_unstored);
  }
  return {{"tracked", tracked}, {"capacity", capacity}, {"unstored", unstored}};
}

/// Every VIP that is configured, and every one that is announced.
json announce_view(const Controller& controller) {
  const Announcer& announcer = controller.announcer();
  if (!announcer.config()) return nullptr;
  std::map<Prefix, json> metrics;
  for (const ServiceConfig& service : controller.config().services) {
    for (const Prefix& vip : service.vips) metrics[vip] = nullptr;
  }
  for (const VipRoute& route : announcer.routes()) metrics[route.vip] = route.metric;
  json vips = json::array();
  for (const auto& [vip, metric] : metrics)
    vips.push_back({{"vip", vip.to_string()}, {"announced", !metric.is_null()}, {"metric", metric}});
  json sessions = json::array();
  for (const BgpSession& session : announcer.bird().sessions)
    sessions.push_back({{"protocol", session.protocol}, {"up", session.up}, {"info", session.info}});
  json bfd = json::array();
  for (const BfdSession& session : announcer.bird().bfd)
    bfd.push_back({{"neighbor", session.neighbor},
                   {"interface", session.interface},
                   {"up", session.up},
                   {"state", session.state}});
  return {{"state", drain_phase_name(announcer.phase())},
          {"table", announcer.config()->table},
          {"failure", optional_text(announcer.failure())},
          {"vips", std::move(vips)},
          {"bird",
           {{"error", optional_text(announcer.bird().error)},
            {"sessions", std::move(sessions)},
            {"bfd", std::move(bfd)}}}};
}

constexpr const char* kScopeNames[] = {"advice", "interface", "node"};

json conditions_view(const Controller& controller) {
  json views = json::array();
  const auto now = ConditionWatch::Clock::now();
  for (const auto& [key, condition] : controller.watch().conditions().all()) {
    views.push_back(
        {{"name", key.first},
         {"subject", optional_text(key.second)},
         {"state", condition_state_name(condition.state)},
         {"scope", kScopeNames[static_cast<int>(condition.scope)]},
         {"since_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now - condition.since).count()},
         {"evidence", optional_text(condition.evidence)},
         {"mend", optional_text(condition.mend)}});
  }
  return views;
}

constexpr const char* kTrackingNames[LINIMO_TRACKING_COUNT] = {"off", "full", "adaptive"};
constexpr const char* kSchedulerNames[LINIMO_SCHEDULER_COUNT] = {"maglev", "source-hash", "round-robin",
                                                                 "weighted-round-robin", "least-connections"};

}  // namespace

json status_view(const Controller& controller) {
  const DataplanePeer peer = controller.peer().value_or(DataplanePeer{});
  json outcomes = json::object();
  for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
    const auto outcome = static_cast<linimo_outcome>(i);
    outcomes[outcome_name(outcome)] = controller.counters() ? controller.counters()->outcome(outcome) : 0;
  }
  const bool connected = controller.connected();
  return {{"node", controller.config().node.name},
          {"version", LINIMO_VERSION},
          {"engine", peer.engine},
          {"engine_reason", peer.engine_reason},
          {"generation", controller.live_generation()},
          {"digest", fmt::format("{:016x}", controller.live_digest())},
          {"up_to_date", controller.up_to_date()},
          {"health_known", controller.health().settled()},
          {"pools_in_panic", controller.pools_in_panic()},
          {"dataplane",
           {{"connected", connected},
            {"pid", connected ? json(peer.pid) : json(nullptr)},
            {"generation", controller.live_generation()},
            {"workers", peer.workers},
            {"restored", peer.restored},
            {"last_refusal", optional_text(controller.last_refusal())}}},
          {"serves", controller.watch().serving().serves},
          {"serves_not_why", optional_text(controller.watch().serving().why)},
          {"conditions", conditions_view(controller)},
          {"outcomes", std::move(outcomes)},
          {"announce", announce_view(controller)},
          {"flows", flows_view(controller.counters())},
          {"path_mtus_lowered", controller.counters() ? controller.counters()->path_mtus_lowered() : 0},
          {"config",
           {{"file", controller.config().file.string()},
            {"revision", controller.config().revision},
            {"loaded_at", controller.loaded_at()},
            {"last_error", controller.last_error() ? json(*controller.last_error()) : json(nullptr)},
            {"restart_needed", controller.restart_needed()}}}};
}

json services_view(const Controller& controller) {
  json views = json::array();
  for (const ServiceConfig& service : controller.config().services) {
    json vips = json::array();
    for (const Prefix& vip : service.vips) vips.push_back(vip.to_string());
    json ports = json::array();
    for (const PortRange& range : service.ports) {
      if (kind_of(range) == PortKind::kOne) {
        ports.push_back(range.first);
      } else {
        ports.push_back(ports_text(range));
      }
    }
    const auto id = controller.ids().find_service(service.name);
    json view = {{"name", service.name},
                 {"id", id ? json(*id) : json(nullptr)},
                 {"vips", std::move(vips)},
                 {"protocol", service.protocol == 6 ? "tcp" : "udp"},
                 {"ports", std::move(ports)},
                 {"pool", controller.config().pools[service.pool].name},
                 {"scheduler", kSchedulerNames[service.scheduler]},
                 {"tracking", kTrackingNames[service.tracking]},
                 {"idle_timeout_s", service.idle_timeout_s}};
    view.update(traffic(controller.counters() && id ? controller.counters()->service(*id) : TrafficCount{}));
    views.push_back(std::move(view));
  }
  return views;
}

json backends_view(const Controller& controller) {
  json views = json::array();
  for (const PoolConfig& pool : controller.config().pools) {
    for (const BackendConfig& backend : pool.backends) {
      const BackendKey key{pool.name, backend.address};
      const auto id = controller.ids().find_backend(key);
      const BackendView shown{key, backend, controller.standing(key), controller.drain_progress(key)};
      const FlowCount flows =
          controller.counters() && id ? controller.counters()->flows_of_backend(*id) : FlowCount{};
      json view = {
          {"pool", pool.name},
          {"address", backend.address.to_string()},
          {"id", id ? json(*id) : json(nullptr)},
          {"state", shown.state()},
          {"weight", backend.weight},
          {"start_eighths", shown.standing.eighths},
          {"flows", flows.all()},
          {"drain", drain_view(controller, shown)},
          {"share", controller.planner().share(key)},
          {"way_problem",
           controller.way_problem(key) == nullptr ? json(nullptr) : json(controller.way_problem(key))},
          {"detail", controller.health().detail(key)}};
      view.update(traffic(of_backend(controller, key)));
      views.push_back(std::move(view));
    }
  }
  return views;
}

json pools_view(const Controller& controller) {
  json views = json::array();
  for (const PoolConfig& pool : controller.config().pools) {
    size_t up = 0;
    for (const BackendConfig& backend : pool.backends) {
      up += controller.health().state({pool.name, backend.address}) == HealthState::kUp ? 1 : 0;
    }
    views.push_back({{"name", pool.name},
                     {"encapsulation", encapsulation_name(pool.encapsulation)},
                     {"table_size", pool.table_size},
                     {"backends", pool.backends.size()},
                     {"backends_up", up},
                     {"panic", controller.planner().panics(pool.name)},
                     {"digest", fmt::format("{:016x}", controller.planner().digest(pool.name))},
                     {"health", health_view(pool.health)}});
  }
  return views;
}

}  // namespace linimo
