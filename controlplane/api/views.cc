#include "controlplane/api/views.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "controlplane/config/values.h"
#include "controlplane/tables/planner.h"
#include "maglev/names.h"

namespace linimo {
namespace {

using nlohmann::json;

json traffic(const TrafficCount& count) {
  return {{"packets", count.packets}, {"bytes", count.bytes}, {"new_flows", count.new_flows}};
}

struct BackendView {
  const BackendConfig& config;
  const BackendState& now;

  bool drains() const { return now.standing.drains || config.drain || config.weight == 0; }
  const char* state() const {
    if (now.standing.health != HealthState::kUp) return health_name(now.standing.health);
    if (drains()) return now.drain && now.drain->done ? "drained" : "draining";
    return now.standing.held_back ? "held" : "up";
  }
};

json drain_view(const BackendView& backend) {
  if (!backend.drains()) return nullptr;
  const char* wish = backend.now.drained_by_operator                      ? "operator"
                     : backend.config.drain || backend.config.weight == 0 ? "configuration"
                                                                          : "backend";
  json view = {
      {"wish", wish}, {"done", false}, {"tcp_flows", nullptr}, {"udp_flows", nullptr}, {"left_s", nullptr}};
  const auto& drain = backend.now.drain;
  if (!drain) return view;
  view["done"] = drain->done;
  view["tcp_flows"] = drain->flows.tcp;
  view["udp_flows"] = drain->flows.udp;
  if (drain->left) view["left_s"] = drain->left->count();
  return view;
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

json flows_view(const NodeState& state) {
  const auto& counters = state.counters;
  uint64_t tracked = 0;
  uint64_t capacity = 0;
  uint64_t unstored = 0;
  const auto read = [](const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
  for (uint32_t i = 0; counters && i < counters->workers(); ++i) {
    tracked += read(counters->worker(i).flows);
    capacity += read(counters->worker(i).flows_capacity);
    unstored += read(counters->worker(i).flows_unstored);
  }
  uint64_t made = 0;
  for (const auto& id : state.service_ids) made += counters && id ? counters->service(*id).new_flows : 0;
  return {{"tracked", tracked}, {"capacity", capacity}, {"unstored", unstored}, {"made", made}};
}

/// Or receive queues.
json workers_view(const std::optional<CountersView>& counters) {
  const auto read = [](const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
  json workers = json::array();
  for (uint32_t i = 0; counters && i < counters->workers(); ++i) {
    const WorkerCounters& worker = counters->worker(i);
    uint64_t packets = 0;
    for (const uint64_t& outcome : worker.outcomes) packets += read(outcome);
    workers.push_back({{"packets", packets},
                       {"forwarded", read(worker.outcomes[LINIMO_OUTCOME_forwarded])},
                       {"busy_ns", read(worker.busy_ns)},
                       {"flows", read(worker.flows)}});
  }
  return workers;
}

/// Every VIP that is configured, and every one that is announced.
json announce_view(const NodeState& state) {
  if (!state.announce) return nullptr;
  const AnnounceState& now = *state.announce;
  std::map<Prefix, json> metrics;
  for (const ServiceConfig& service : state.config->services) {
    for (const Prefix& vip : service.vips) metrics[vip] = nullptr;
  }
  for (const VipRoute& route : now.routes) metrics[route.vip] = route.metric;
  json vips = json::array();
  for (const auto& [vip, metric] : metrics)
    vips.push_back({{"vip", vip.to_string()}, {"announced", !metric.is_null()}, {"metric", metric}});
  json sessions = json::array();
  for (const BgpSession& session : now.bird.sessions)
    sessions.push_back({{"protocol", session.protocol}, {"up", session.up}, {"info", session.info}});
  json bfd = json::array();
  for (const BfdSession& session : now.bird.bfd)
    bfd.push_back({{"neighbor", session.neighbor},
                   {"interface", session.interface},
                   {"up", session.up},
                   {"state", session.state}});
  return {{"state", drain_phase_name(now.phase)},
          {"table", state.config->announce->table},
          {"failure", optional_text(now.failure)},
          {"vips", std::move(vips)},
          {"bird",
           {{"error", optional_text(now.bird.error)},
            {"sessions", std::move(sessions)},
            {"bfd", std::move(bfd)}}}};
}

constexpr const char* kScopeNames[] = {"advice", "interface", "node"};

json conditions_view(const NodeState& state) {
  json views = json::array();
  const auto now = std::chrono::steady_clock::now();
  for (const auto& [key, condition] : state.conditions) {
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

}  // namespace

json status_view(const NodeState& state) {
  const DataplanePeer peer = state.peer.value_or(DataplanePeer{});
  json outcomes = json::object();
  for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
    const auto outcome = static_cast<linimo_outcome>(i);
    outcomes[outcome_name(outcome)] = state.counters ? state.counters->outcome(outcome) : 0;
  }
  return {{"node", state.config->node.name},
          {"version", LINIMO_VERSION},
          {"engine", peer.engine},
          {"engine_reason", peer.engine_reason},
          {"generation", state.generation},
          {"digest", fmt::format("{:016x}", state.digest)},
          {"seed_check", fmt::format("{:08x}", state.seed_check)},
          {"up_to_date", state.up_to_date},
          {"health_known", state.health_known},
          {"pools_in_panic", state.pools_in_panic},
          {"dataplane",
           {{"connected", state.connected},
            {"pid", state.connected ? json(peer.pid) : json(nullptr)},
            {"generation", state.generation},
            {"workers", peer.workers},
            {"restored", peer.restored},
            {"last_refusal", optional_text(state.last_refusal)}}},
          {"serves", state.serving.serves},
          {"serves_not_why", optional_text(state.serving.why)},
          {"conditions", conditions_view(state)},
          {"outcomes", std::move(outcomes)},
          {"announce", announce_view(state)},
          {"flows", flows_view(state)},
          {"workers", workers_view(state.counters)},
          {"path_mtus_lowered", state.counters ? state.counters->path_mtus_lowered() : 0},
          {"transmit_lost", state.counters ? state.counters->transmit_lost() : 0},
          {"receive_lost", state.counters ? state.counters->receive_lost() : 0},
          {"config",
           {{"file", state.config->file.string()},
            {"revision", state.config->revision},
            {"loaded_at", state.loaded_at},
            {"last_error", state.last_error ? json(*state.last_error) : json(nullptr)},
            {"restart_needed", state.restart_needed}}}};
}

json services_view(const NodeState& state) {
  json views = json::array();
  for (size_t i = 0; i < state.config->services.size(); ++i) {
    const ServiceConfig& service = state.config->services[i];
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
    const auto id = state.service_ids[i];
    json view = {{"name", service.name},
                 {"id", id ? json(*id) : json(nullptr)},
                 {"vips", std::move(vips)},
                 {"protocol", service.protocol == 6 ? "tcp" : "udp"},
                 {"ports", std::move(ports)},
                 {"pool", state.config->pools[service.pool].name},
                 {"scheduler", kSchedulerNames[service.scheduler]},
                 {"tracking", kTrackingNames[service.tracking]},
                 {"idle_timeout_s", service.idle_timeout_s}};
    view.update(traffic(state.counters && id ? state.counters->service(*id) : TrafficCount{}));
    views.push_back(std::move(view));
  }
  return views;
}

json backends_view(const NodeState& state) {
  json views = json::array();
  for_each_backend(state, [&](const PoolConfig& pool, const BackendConfig& backend, const BackendState& now) {
    const BackendView shown{backend, now};
    const bool counted = state.counters && now.id;
    const FlowCount flows = counted ? state.counters->flows_of_backend(*now.id) : FlowCount{};
    json view = {{"pool", pool.name},
                 {"address", backend.address.to_string()},
                 {"id", now.id ? json(*now.id) : json(nullptr)},
                 {"state", shown.state()},
                 {"weight", backend.weight},
                 {"start_eighths", now.standing.eighths},
                 {"flows", flows.all()},
                 {"drain", drain_view(shown)},
                 {"share", now.share},
                 {"repeated_syns", counted ? state.counters->repeated_syns(*now.id) : 0},
                 {"checks",
                  {{"successes", now.checks.successes},
                   {"failures", now.checks.failures},
                   {"seconds", std::chrono::duration<double>(now.checks.took).count()}}},
                 {"way_problem", now.way_problem == nullptr ? json(nullptr) : json(now.way_problem)},
                 {"detail", now.detail}};
    view.update(traffic(counted ? state.counters->backend(*now.id) : TrafficCount{}));
    views.push_back(std::move(view));
  });
  return views;
}

json pools_view(const NodeState& state) {
  std::map<std::string_view, size_t> up;
  for_each_backend(state, [&](const PoolConfig& pool, const BackendConfig&, const BackendState& now) {
    up[pool.name] += now.standing.health == HealthState::kUp ? 1 : 0;
  });
  json views = json::array();
  for (size_t i = 0; i < state.config->pools.size(); ++i) {
    const PoolConfig& pool = state.config->pools[i];
    views.push_back({{"name", pool.name},
                     {"encapsulation", kEncapsulationNames[pool.encapsulation]},
                     {"table_size", pool.table_size},
                     {"backends", pool.backends.size()},
                     {"backends_up", up[pool.name]},
                     {"panic", state.pools[i].panics},
                     {"digest", fmt::format("{:016x}", state.pools[i].digest)},
                     {"health", health_view(pool.health)}});
  }
  return views;
}

}  // namespace linimo
