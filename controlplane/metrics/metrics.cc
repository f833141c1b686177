#include "controlplane/metrics/metrics.h"

#include <functional>
#include <iterator>
#include <set>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace linimo {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<prometheus::ClientMetric::Label>;

MetricFamily family(const char* name, MetricType type, const char* help) {
  MetricFamily made;
  made.name = name;
  made.help = help;
  made.type = type;
  return made;
}
MetricFamily counter(const char* name, const char* help) {
  return family(name, MetricType::Counter, help);
}
MetricFamily gauge(const char* name, const char* help) {
  return family(name, MetricType::Gauge, help);
}

// Prometheus computes in doubles, which are exact up to 2^53: at a hundred million packets a second that
// lasts for three years.
void add(MetricFamily& family, Labels labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  (family.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
  family.metric.push_back(std::move(metric));
}
void add(MetricFamily& family, Labels labels, uint64_t value) {
  add(family, std::move(labels), static_cast<double>(value));
}

/// The same three counts are kept of services and of backends.
struct TrafficFamilies {
  MetricFamily packets;
  MetricFamily bytes;
  MetricFamily new_flows;

  void add_row(const Labels& labels, const TrafficCount& count) {
    add(packets, labels, count.packets);
    add(bytes, labels, count.bytes);
    add(new_flows, labels, count.new_flows);
  }
};

class Collection {
 public:
  explicit Collection(const Controller& controller)
      : controller_(controller), counters_(controller.counters() ? &*controller.counters() : nullptr) {}

  std::vector<MetricFamily> collect() {
    node();
    configuration();
    if (controller_.announcer().config()) announcements();
    if (counters_ != nullptr) {
      outcomes();
      path_mtus();
      workers();
      services();
    }
    backends();
    pools();
    conditions();
    return std::move(families_);
  }

 private:
  template <typename... Families>
  void keep(Families&&... families) {
    (families_.push_back(std::forward<Families>(families)), ...);
  }
  void keep(TrafficFamilies&& traffic) {
    keep(std::move(traffic.packets), std::move(traffic.bytes), std::move(traffic.new_flows));
  }
  void single(MetricFamily family, double value) {
    add(family, {}, value);
    keep(std::move(family));
  }

  void node() {
    MetricFamily info = gauge("linimo_node_info", "Always 1; what runs is in the labels.");
    add(info,
        {{"node", controller_.config().node.name},
         {"version", LINIMO_VERSION},
         {"engine", controller_.peer() ? controller_.peer()->engine : ""}},
        1.0);
    keep(std::move(info));
    single(gauge("linimo_dataplane_connected", "Whether the data plane's process answers the control plane."),
           controller_.connected() ? 1 : 0);
    single(gauge("linimo_generation", "The generation of tables that the data plane forwards by; 0: none."),
           static_cast<double>(controller_.live_generation()));
    single(gauge("linimo_digest",
                 "The upper 48 bits of the tables' digest: equal on nodes that choose the same backends."),
           static_cast<double>(controller_.live_digest() >> 16));
    single(gauge("linimo_publication_refused", "Whether the data plane refused the last generation."),
           controller_.last_refusal().empty() ? 0 : 1);
  }

  void configuration() {
    single(
        gauge("linimo_config_last_reload_successful", "0: the last change of the configuration was refused."),
        controller_.last_error() ? 0 : 1);
    single(gauge("linimo_config_restart_needed",
                 "Changed keys of [node] that wait for a restart of the data plane."),
           static_cast<double>(controller_.restart_needed().size()));
  }

  void announcements() {
    const Announcer& announcer = controller_.announcer();
    MetricFamily announced = gauge("linimo_vip_announced", "1: a route announces the VIP.");
    std::set<Prefix> vips;
    for (const ServiceConfig& service : controller_.config().services)
      vips.insert(service.vips.begin(), service.vips.end());
    std::set<Prefix> routed;
    for (const VipRoute& route : announcer.routes()) routed.insert(route.vip);
    for (const Prefix& vip : vips)
      add(announced, {{"vip", vip.to_string()}}, routed.contains(vip) ? 1.0 : 0.0);
    MetricFamily sessions =
        gauge("linimo_bgp_session_up", "1: a BGP session of BIRD's is established, by its protocol's name.");
    for (const BgpSession& session : announcer.bird().sessions)
      add(sessions, {{"protocol", session.protocol}}, session.up ? 1.0 : 0.0);
    MetricFamily bfd = gauge("linimo_bfd_session_up", "1: BIRD's BFD hears a neighbour.");
    for (const BfdSession& session : announcer.bird().bfd)
      add(bfd, {{"neighbor", session.neighbor}, {"interface", session.interface}}, session.up ? 1.0 : 0.0);
    keep(std::move(announced), std::move(sessions), std::move(bfd));
    single(gauge("linimo_announce_drain", "0: the node serves, 1: it drains, 2: it is drained."),
           static_cast<double>(announcer.phase()));
    single(gauge("linimo_announce_failing", "1: the kernel's routes are not what they should be."),
           announcer.failure().empty() ? 0 : 1);
    single(gauge("linimo_bird_answers", "Whether BIRD's control socket tells of its sessions."),
           announcer.bird().error.empty() ? 1 : 0);
  }

  void outcomes() {
    MetricFamily packets = counter("linimo_packets_total", "Packets by what became of them.");
    for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
      const auto outcome = static_cast<linimo_outcome>(i);
      add(packets, {{"outcome", outcome_name(outcome)}}, counters_->outcome(outcome));
    }
    keep(std::move(packets));
  }

  void path_mtus() {
    MetricFamily lowered = counter("linimo_path_mtu_lowered_total",
                                   "Times that a router's word lowered the MTU of the way to a backend.");
    MetricFamily ignored = counter("linimo_path_mtu_ignored_total",
                                   "Routers' words about an MTU that were about no tunnel of Linimo's.");
    MetricFamily now =
        gauge("linimo_path_mtu_lowered_ways", "Backends to which a router's word has lowered the MTU.");
    add(lowered, {}, counters_->path_mtus_lowered());
    add(ignored, {}, counters_->path_mtus_ignored());
    add(now, {}, counters_->path_mtus_lowered_now());
    keep(std::move(lowered), std::move(ignored), std::move(now));
  }

  void workers() {
    MetricFamily busy =
        counter("linimo_worker_busy_seconds_total", "Time spent on bursts that held packets.");
    MetricFamily bursts = counter("linimo_worker_bursts_total", "Bursts that held packets.");
    MetricFamily flows = gauge("linimo_flows", "Entries alive in the connection tables.");
    MetricFamily capacity =
        gauge("linimo_flows_capacity", "Entries that the connection tables have room for.");
    MetricFamily unstored = counter("linimo_flows_unstored_total", "Flows that found no place in a table.");
    const auto read = [](const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
    for (uint32_t i = 0; i < counters_->workers(); ++i) {
      const WorkerCounters& worker = counters_->worker(i);
      const Labels labels{{"worker", std::to_string(i)}};
      add(busy, labels, static_cast<double>(read(worker.busy_ns)) / 1e9);
      add(bursts, labels, read(worker.bursts));
      add(flows, labels, read(worker.flows));
      add(capacity, labels, read(worker.flows_capacity));
      add(unstored, labels, read(worker.flows_unstored));
    }
    keep(std::move(busy), std::move(bursts), std::move(flows), std::move(capacity), std::move(unstored));
  }

  void services() {
    TrafficFamilies traffic{
        counter("linimo_service_packets_total", "Packets forwarded for a service."),
        counter("linimo_service_bytes_total", "Their bytes, from the clients' IP header on."),
        counter("linimo_service_new_flows_total",
                "Flows of a service that were stored in a connection table.")};
    for (const ServiceConfig& service : controller_.config().services) {
      const auto id = controller_.ids().find_service(service.name);
      if (id) traffic.add_row({{"service", service.name}}, counters_->service(*id));
    }
    keep(std::move(traffic));
  }

  void backends() {
    TrafficFamilies traffic{
        counter("linimo_backend_packets_total", "Packets forwarded to a backend."),
        counter("linimo_backend_bytes_total", "Their bytes, from the clients' IP header on."),
        counter("linimo_backend_new_flows_total",
                "Flows to a backend that were stored in a connection table.")};
    MetricFamily up = gauge("linimo_backend_up", "1 up, 0 down; none while nothing is known.");
    MetricFamily start = gauge("linimo_backend_start_ratio",
                               "The part of its weight that a backend has; less than 1 after a death.");
    MetricFamily held = gauge("linimo_backend_held_back",
                              "1: it is up and gets no new flows, since it came and went too often.");
    MetricFamily flows =
        gauge("linimo_backend_flows", "Entries of the connection tables for a backend, some seconds old.");
    MetricFamily drained =
        gauge("linimo_backend_drained", "Of a backend that drains: 1 when no flow is left.");
    MetricFamily share =
        gauge("linimo_backend_share_ratio", "The part of its pool's table that a backend has.");
    MetricFamily checks = counter("linimo_health_checks_total", "Health checks that ended, by their result.");
    for (const PoolConfig& pool : controller_.config().pools) {
      for (const BackendConfig& backend : pool.backends) {
        const BackendKey key{pool.name, backend.address};
        const Labels labels{{"pool", pool.name}, {"backend", backend.address.to_string()}};
        const auto id = controller_.ids().find_backend(key);
        if (counters_ != nullptr && id) traffic.add_row(labels, counters_->backend(*id));
        const Standing standing = controller_.standing(key);
        if (counters_ != nullptr && id) add_flows(flows, labels, counters_->flows_of_backend(*id));
        if (const auto* drain = controller_.drain_progress(key))
          add(drained, labels, drain->done ? 1.0 : 0.0);
        if (standing.health != HealthState::kUnknown)
          add(up, labels, standing.health == HealthState::kUp ? 1.0 : 0.0);
        add(start, labels, static_cast<double>(standing.eighths) / Standing::kFullWeight);
        add(held, labels, standing.held_back ? 1.0 : 0.0);
        add(share, labels, controller_.planner().share(key));
        if (pool.health) add_checks(checks, labels, controller_.health().counts(key));
      }
    }
    keep(std::move(traffic));
    keep(std::move(up), std::move(start), std::move(held), std::move(flows), std::move(drained),
         std::move(share), std::move(checks));
  }

  static void add_flows(MetricFamily& flows, const Labels& backend, const FlowCount& count) {
    for (const auto& [protocol, number] : {std::pair("tcp", count.tcp), {"udp", count.udp}}) {
      Labels labels = backend;
      labels.push_back({"protocol", protocol});
      add(flows, std::move(labels), number);
    }
  }

  static void add_checks(MetricFamily& checks, const Labels& backend, const CheckCounts& counts) {
    for (const auto& [result, count] :
         {std::pair("success", counts.successes), {"failure", counts.failures}}) {
      Labels labels = backend;
      labels.push_back({"result", result});
      add(checks, std::move(labels), count);
    }
  }

  void conditions() {
    MetricFamily conditions =
        gauge("linimo_condition", "A watched condition: 1 holds, 0 fails; none while unknown.");
    for (const auto& [key, condition] : controller_.watch().conditions().all()) {
      if (condition.state == ConditionState::kUnknown) continue;
      add(conditions, {{"name", key.first}, {"subject", key.second}},
          condition.state == ConditionState::kHolds ? 1.0 : 0.0);
    }
    MetricFamily serves = gauge("linimo_node_serves", "1: the node's conditions let it announce VIPs.");
    add(serves, {}, controller_.watch().serving().serves ? 1.0 : 0.0);
    MetricFamily without =
        gauge("linimo_backends_without_way", "Backends to which the data plane has no route or next hop.");
    add(without, {}, uint64_t{controller_.watch().ways().without()});
    keep(std::move(conditions), std::move(serves), std::move(without));
  }

  void pools() {
    MetricFamily backends = gauge("linimo_pool_backends", "Backends that a pool has.");
    MetricFamily panic =
        gauge("linimo_pool_panic", "1: so few backends of the pool are up that all are used.");
    MetricFamily digest = gauge("linimo_pool_digest", "The upper 48 bits of the digest of a pool's table.");
    for (const PoolConfig& pool : controller_.config().pools) {
      const Labels labels{{"pool", pool.name}};
      add(backends, labels, uint64_t{pool.backends.size()});
      add(panic, labels, controller_.planner().panics(pool.name) ? 1.0 : 0.0);
      add(digest, labels, controller_.planner().digest(pool.name) >> 16);
    }
    keep(std::move(backends), std::move(panic), std::move(digest));
  }

  const Controller& controller_;
  const CountersView* counters_;
  std::vector<MetricFamily> families_;
};

}  // namespace

std::vector<MetricFamily> NodeMetrics::Collect() const {
  return Collection(controller_).collect();
}

std::string metrics_page(const Controller& controller) {
  return prometheus::TextSerializer().Serialize(NodeMetrics(controller).Collect());
}

}  // namespace linimo
