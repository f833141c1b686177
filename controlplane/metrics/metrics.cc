#include "controlplane/metrics/metrics.h"

#include <functional>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "controlplane/metrics/text_page.h"
#include "maglev/address.h"

namespace linimo {
namespace {

/// What several families say of one backend.
struct Row {
  std::string labels;
  const PoolConfig& pool;
  const BackendState& now;
  TrafficCount traffic;
};

class Page {
 public:
  explicit Page(const NodeState& state)
      : state_(state), counters_(state.counters ? &*state.counters : nullptr) {}

  std::string make() {
    node();
    configuration();
    if (state_.announce) announcements(*state_.announce);
    if (state_.fleet) fleet(*state_.fleet);
    if (counters_ != nullptr) {
      outcomes();
      path_mtus();
      workers();
      services();
    }
    backends();
    pools();
    conditions();
    return page_.take();
  }

 private:
  void gauge(std::string_view name, std::string_view help) { page_.family(name, "gauge", help); }
  void counter(std::string_view name, std::string_view help) { page_.family(name, "counter", help); }
  void single(std::string_view name, std::string_view help, uint64_t value) {
    gauge(name, help);
    page_.add("", value);
  }

  void node() {
    gauge("linimo_node_info", "Always 1; what runs is in the labels.");
    page_.add(labels({{"node", state_.config->node.name},
                      {"version", LINIMO_VERSION},
                      {"engine", state_.peer ? state_.peer->engine : ""}}),
              1);
    single("linimo_dataplane_connected", "Whether the data plane's process answers the control plane.",
           state_.connected ? 1 : 0);
    single("linimo_generation", "The generation of tables that the data plane forwards by; 0: none.",
           state_.generation);
    single("linimo_digest",
           "The upper 48 bits of the tables' digest: equal on nodes that choose the same backends.",
           state_.digest >> 16);
    single("linimo_publication_refused", "Whether the data plane refused the last generation.",
           state_.last_refusal.empty() ? 0 : 1);
  }

  void configuration() {
    single("linimo_config_last_reload_successful", "0: the last change of the configuration was refused.",
           state_.last_error ? 0 : 1);
    single("linimo_config_restart_needed",
           "Changed keys of [node] that wait for a restart of the data plane.", state_.restart_needed.size());
  }

  void flow_news(const FleetMember::SharedCounts& shared) {
    counter("linimo_fleet_flows_told_total", "Flows that this node has told the others of.");
    page_.add("", shared.told);
    counter("linimo_fleet_flows_heard_total", "Flows that other nodes have told this one of.");
    page_.add("", shared.heard);
    counter(
        "linimo_fleet_datagrams_refused_total",
        "Datagrams at the address of [fleet] peers that no other node had signed, or that came too late or "
        "too many.");
    page_.add("", shared.refused);
  }

  void fleet(const FleetState& fleet) {
    single("linimo_fleet_store_in_reach", "0: the fleet's store has not answered for as long as a lease.",
           fleet.store_in_reach ? 1 : 0);
    single("linimo_fleet_leads", "1: this node leads its fleet.", fleet.leads ? 1 : 0);
    single("linimo_fleet_nodes", "Living nodes of the fleet, as far as this one knows.", fleet.nodes);
    single("linimo_fleet_revision", "The fleet's revision that the data plane forwards by; 0: none.",
           fleet.table.revision);
    single("linimo_fleet_state", "The fleet's state that the data plane forwards by.", fleet.table.state);
    flow_news(fleet.shared);
    gauge("linimo_fleet_alarm", "1: the fleet's operator should know.");
    for (const auto& [name, raised] : fleet.alarms) page_.add(labels({{"alarm", name}}), raised ? 1 : 0);
  }

  void announcements(const AnnounceState& announce) {
    gauge("linimo_vip_announced", "1: a route announces the VIP.");
    std::set<Prefix> vips;
    for (const ServiceConfig& service : state_.config->services)
      vips.insert(service.vips.begin(), service.vips.end());
    std::set<Prefix> routed;
    for (const VipRoute& route : announce.routes) routed.insert(route.vip);
    for (const Prefix& vip : vips)
      page_.add(labels({{"vip", vip.to_string()}}), routed.contains(vip) ? 1 : 0);
    gauge("linimo_bgp_session_up", "1: a BGP session of BIRD's is established, by its protocol's name.");
    for (const BgpSession& session : announce.bird.sessions)
      page_.add(labels({{"protocol", session.protocol}}), session.up ? 1 : 0);
    gauge("linimo_bfd_session_up", "1: BIRD's BFD hears a neighbour.");
    for (const BfdSession& session : announce.bird.bfd)
      page_.add(labels({{"neighbor", session.neighbor}, {"interface", session.interface}}),
                session.up ? 1 : 0);
    single("linimo_announce_drain", "0: the node serves, 1: it drains, 2: it is drained.",
           static_cast<uint64_t>(announce.phase));
    single("linimo_announce_failing", "1: the kernel's routes are not what they should be.",
           announce.failure.empty() ? 0 : 1);
    single("linimo_bird_answers", "Whether BIRD's control socket tells of its sessions.",
           announce.bird.error.empty() ? 1 : 0);
  }

  void outcomes() {
    counter("linimo_packets_total", "Packets by what became of them.");
    for (int i = 0; i < LINIMO_OUTCOME_COUNT; ++i) {
      const auto outcome = static_cast<linimo_outcome>(i);
      page_.add(labels({{"outcome", outcome_name(outcome)}}), counters_->outcome(outcome));
    }
    counter("linimo_lost_frames_total",
            "Frames lost by kernel, driver or NIC: after they were sent, or before they came here.");
    page_.add(labels({{"direction", "transmit"}}), counters_->transmit_lost());
    page_.add(labels({{"direction", "receive"}}), counters_->receive_lost());
    counter("linimo_tunnel_errors_total",
            "ICMP errors that quote our tunnels; the condition tunnel-accepted says of which backends.");
    constexpr const char* kReasons[] = {"no_protocol", "no_port", "prohibited", "unreachable"};
    for (size_t kind = 0; kind < std::size(kReasons); ++kind)
      page_.add(labels({{"reason", kReasons[kind]}}), counters_->tunnel_errors(kind));
    const auto by_backend = counters_->tunnel_errors_by_backend();
    counter("linimo_backend_tunnel_errors_total",
            fmt::format("ICMP errors that quote our tunnels by backend, of the first {} from which one came.",
                        std::size(CountersBlock{}.tunnel_errors_of)));
    for (const TunnelErrorCount& one : by_backend) {
      const std::string backend = Address::from_abi(one.backend).to_string();
      for (size_t kind = 0; kind < std::size(kReasons); ++kind)
        page_.add(labels({{"backend", backend}, {"reason", kReasons[kind]}}),
                  __atomic_load_n(&one.errors[kind], __ATOMIC_RELAXED));
    }
  }

  void path_mtus() {
    counter("linimo_path_mtu_lowered_total",
            "Times that a router's word lowered the MTU of the way to a backend.");
    page_.add("", counters_->path_mtus_lowered());
    counter("linimo_path_mtu_ignored_total",
            "Routers' words about an MTU that were about no tunnel of Linimo's.");
    page_.add("", counters_->path_mtus_ignored());
    single("linimo_path_mtu_lowered_ways", "Backends to which a router's word has lowered the MTU.",
           counters_->path_mtus_lowered_now());
  }

  void workers() {
    const auto each = [this](const auto& value_of) {
      const auto read = [](const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
      for (uint32_t i = 0; i < counters_->workers(); ++i)
        page_.add(labels({{"worker", std::to_string(i)}}), value_of(counters_->worker(i), read));
    };
    counter("linimo_worker_busy_seconds_total", "Time spent on bursts that held packets.");
    each([](const auto& worker, auto read) { return static_cast<double>(read(worker.busy_ns)) / 1e9; });
    counter("linimo_worker_bursts_total", "Bursts that held packets.");
    each([](const auto& worker, auto read) { return read(worker.bursts); });
    if (state_.peer && state_.peer->engine == "dpdk") burst_times();
    gauge("linimo_flows", "Entries alive in the connection tables.");
    each([](const auto& worker, auto read) { return read(worker.flows); });
    gauge("linimo_flows_capacity", "Entries that the connection tables have room for.");
    each([](const auto& worker, auto read) { return read(worker.flows_capacity); });
    counter("linimo_flows_unstored_total", "Flows that found no place in a table.");
    each([](const auto& worker, auto read) { return read(worker.flows_unstored); });
  }

  void burst_times() {
    page_.family("linimo_worker_burst_seconds", "histogram", "How long a burst that held packets took.");
    for (uint32_t i = 0; i < counters_->workers(); ++i) {
      const WorkerCounters& worker = counters_->worker(i);
      const std::string whose = labels({{"worker", std::to_string(i)}});
      uint64_t bursts = 0;
      double less_than = static_cast<double>(kBurstStep_ns) / 1e9;
      for (const uint64_t& times : worker.burst_times) {
        bursts += __atomic_load_n(&times, __ATOMIC_RELAXED);
        const bool last = &times == std::end(worker.burst_times) - 1;
        page_.add_part("_bucket",
                       fmt::format("{},le=\"{}\"", whose, last ? "+Inf" : fmt::format("{}", less_than)),
                       bursts);
        less_than *= 2;
      }
      page_.add_part("_sum", whose,
                     static_cast<double>(__atomic_load_n(&worker.busy_ns, __ATOMIC_RELAXED)) / 1e9);
      page_.add_part("_count", whose, bursts);
    }
  }

  /// The same three counts are kept of services and of backends.
  template <typename Rows>
  void traffic(const std::string& of, const char* packets, const char* new_flows, const Rows& each) {
    const std::string prefix = "linimo_" + of;
    counter(prefix + "_packets_total", packets);
    each([this](const std::string& with, const TrafficCount& count) { page_.add(with, count.packets); });
    counter(prefix + "_bytes_total", "Their bytes, from the clients' IP header on.");
    each([this](const std::string& with, const TrafficCount& count) { page_.add(with, count.bytes); });
    counter(prefix + "_new_flows_total", new_flows);
    each([this](const std::string& with, const TrafficCount& count) { page_.add(with, count.new_flows); });
  }

  void services() {
    traffic("service", "Packets forwarded for a service.",
            "Flows of a service that were stored in a connection table.", [this](const auto& visit) {
              for (size_t i = 0; i < state_.service_ids.size(); ++i) {
                if (const auto id = state_.service_ids[i])
                  visit(labels({{"service", state_.config->services[i].name}}), counters_->service(*id));
              }
            });
  }

  void backends() {
    std::vector<Row> rows;
    rows.reserve(state_.backends.size());
    for_each_backend(
        state_, [&](const PoolConfig& pool, const BackendConfig& backend, const BackendState& now) {
          rows.push_back({labels({{"pool", pool.name}, {"backend", backend.address.to_string()}}), pool, now,
                          counted(now) ? counters_->backend(*now.id) : TrafficCount{}});
        });
    traffic("backend", "Packets forwarded to a backend.",
            "Flows to a backend that were stored in a connection table.", [&](const auto& visit) {
              for (const Row& row : rows) {
                if (counted(row.now)) visit(row.labels, row.traffic);
              }
            });
    counter(
        "linimo_backend_repeated_syns_total",
        "SYNs that came again within 3 s for a tracked flow to a backend: as a rule it does not answer, or "
        "its answers are lost; also a port that a client uses again after a reset.");
    for (const Row& row : rows) {
      if (counted(row.now)) page_.add(row.labels, counters_->repeated_syns(*row.now.id));
    }
    gauge("linimo_backend_up", "1 up, 0 down; none while nothing is known.");
    for (const Row& row : rows) {
      const HealthState health = row.now.standing.health;
      if (health != HealthState::kUnknown) page_.add(row.labels, health == HealthState::kUp ? 1 : 0);
    }
    gauge("linimo_backend_start_ratio",
          "The part of its weight that a backend has; less than 1 after a death.");
    for (const Row& row : rows)
      page_.add(row.labels, static_cast<double>(row.now.standing.eighths) / Standing::kFullWeight);
    gauge("linimo_backend_held_back", "1: it is up and gets no new flows, since it came and went too often.");
    for (const Row& row : rows) page_.add(row.labels, row.now.standing.held_back ? 1 : 0);
    gauge("linimo_backend_flows", "Entries of the connection tables for a backend, some seconds old.");
    for (const Row& row : rows) {
      if (!counted(row.now)) continue;
      const FlowCount flows = counters_->flows_of_backend(*row.now.id);
      page_.add(row.labels + ",protocol=\"tcp\"", flows.tcp);
      page_.add(row.labels + ",protocol=\"udp\"", flows.udp);
    }
    gauge("linimo_backend_drained", "Of a backend that drains: 1 when no flow is left.");
    for (const Row& row : rows) {
      if (row.now.drain) page_.add(row.labels, row.now.drain->done ? 1 : 0);
    }
    gauge("linimo_backend_share_ratio", "The part of its pool's table that a backend has.");
    for (const Row& row : rows) page_.add(row.labels, row.now.share);
    counter("linimo_health_checks_total", "Health checks that ended, by their result.");
    for (const Row& row : rows) {
      if (!row.pool.health) continue;
      page_.add(row.labels + ",result=\"success\"", row.now.checks.successes);
      page_.add(row.labels + ",result=\"failure\"", row.now.checks.failures);
    }
    counter("linimo_health_check_seconds_total",
            "Time that health checks took, failed ones too; over linimo_health_checks_total: their latency.");
    for (const Row& row : rows) {
      if (row.pool.health) page_.add(row.labels, std::chrono::duration<double>(row.now.checks.took).count());
    }
  }
  bool counted(const BackendState& backend) const { return counters_ != nullptr && backend.id; }

  void pools() {
    const auto each = [this](const auto& value_of) {
      for (size_t i = 0; i < state_.pools.size(); ++i) {
        const PoolConfig& pool = state_.config->pools[i];
        page_.add(labels({{"pool", pool.name}}), value_of(pool, state_.pools[i]));
      }
    };
    gauge("linimo_pool_backends", "Backends that a pool has.");
    each([](const PoolConfig& pool, const PoolState&) { return pool.backends.size(); });
    gauge("linimo_pool_panic", "1: so few backends of the pool are up that all are used.");
    each([](const PoolConfig&, const PoolState& now) { return now.panics ? 1 : 0; });
    gauge("linimo_pool_digest", "The upper 48 bits of the digest of a pool's table.");
    each([](const PoolConfig&, const PoolState& now) { return now.digest >> 16; });
    gauge("linimo_ids_free",
          "Numbers that no backend or service holds; at 0, new names take those of old ones early.");
    page_.add(labels({{"of", "backends"}}), state_.free_backend_ids);
    page_.add(labels({{"of", "services"}}), state_.free_service_ids);
  }

  void conditions() {
    gauge("linimo_condition", "A watched condition: 1 holds, 0 fails; none while unknown.");
    for (const auto& [key, condition] : state_.conditions) {
      if (condition.state == ConditionState::kUnknown) continue;
      page_.add(labels({{"name", key.first}, {"subject", key.second}}),
                condition.state == ConditionState::kHolds ? 1 : 0);
    }
    single("linimo_node_serves", "1: the node's conditions let it announce VIPs.",
           state_.serving.serves ? 1 : 0);
    single("linimo_backends_without_way", "Backends to which the data plane has no route or next hop.",
           state_.backends_without_way);
  }

  const NodeState& state_;
  const CountersView* counters_;
  TextPage page_;
};

}  // namespace

std::string metrics_page(const NodeState& state) {
  return Page(state).make();
}

}  // namespace linimo
