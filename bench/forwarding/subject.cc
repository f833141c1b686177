#include "bench/forwarding/subject.h"

#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_malloc.h>

#include "bench/forwarding/loops.h"

namespace linimo::bench {
namespace {

constexpr uint64_t kFlowsPerWorker = 1 << 20;  // at least; what [node] flows_per_worker is unless it is set
constexpr uint64_t kMostSeenBefore = 1 << 20;  // packets that come before the measured ones, at most
constexpr uint16_t kUnderlayMtu = 9000;        // that a tunnelled packet of 1500 bytes is not too big
constexpr uint32_t kFillerFlows = 1U << 29;    // their first number
constexpr uint32_t kBystanderFlows = 3U << 29;

Generation::Memory allocate(size_t bytes) {
  auto* memory = static_cast<std::byte*>(rte_malloc("bench", bytes, RTE_CACHE_LINE_SIZE));
  if (memory == nullptr)
    throw std::runtime_error(fmt::format("no memory for {} bytes: more hugepages", bytes));
  return {memory, [](std::byte* block) { rte_free(block); }};
}

Address address6(uint8_t net, uint32_t host) {
  Address address;
  address.bytes = {0x20, 0x01, 0x0d, 0xb8, 0, net};
  const uint32_t wire = htonl(host);
  std::memcpy(&address.bytes[12], &wire, 4);
  return address;
}

/// As if each of these slots had belonged to another backend until now.
std::vector<UnsettledSpec> unsettled_slots(const PoolTable& table, double share) {
  std::vector<UnsettledSpec> unsettled;
  double due = 0;
  for (uint32_t slot = 0; slot < table.slots.size(); ++slot) {
    due += share;
    if (due < 1) continue;
    due -= 1;
    const size_t another = (table.slots[slot] + size_t{1}) % table.members.size();
    unsettled.push_back({slot, table.members[another].address, LINIMO_MAX_IDLE_TIMEOUT_S});
  }
  return unsettled;
}

SnapshotSpec make_snapshot(const Point& point) {
  const bool v6 = point.traffic.v6;
  SnapshotSpec spec;
  spec.hash_seed = 0x9e3779b97f4a7c15;
  spec.encap_source4 = Address::v4(htonl(0xac100001));
  spec.encap_source6 = address6(1, 1);
  for (uint32_t p = 0; p < point.pools; ++p) {
    PoolSpec pool;
    pool.name = fmt::format("pool{}", p);
    pool.encapsulation = point.encapsulation;
    for (uint32_t b = 0; b < kBackends; ++b) {
      const uint32_t id = p * kBackends + b;
      pool.backends.push_back(
          {.address = v6 ? address6(2, id) : Address::v4(htonl(0xac110000 + id)), .id = id});
    }
    pool.table = make_pool_table(pool.backends, kTableSize);
    pool.unsettled = unsettled_slots(*pool.table, point.unsettled);
    spec.pools.push_back(std::move(pool));
  }
  for (uint32_t s = 0; s < point.traffic.services + (point.bystander ? 1 : 0); ++s) {
    ServiceSpec service;
    service.name = fmt::format("service{}", s);
    service.id = s;
    service.pool = s % point.pools;
    service.tracking = point.tracking;
    service.shares_flows = point.shares;
    service.vips = {{v6 ? address6(0x0f, s) : Address::v4(htonl(kFirstVip + s)), 128}};
    service.ports = {{80, 80}, {443, 443}};
    spec.services.push_back(std::move(service));
  }
  return spec;
}

bool tracks(const Point& point) {
  return point.loop == Loop::kWorker && point.tracking != LINIMO_TRACKING_OFF;
}

uint64_t whole_bursts(uint64_t packets) {
  return (packets + Supply::kBurst - 1) / Supply::kBurst * Supply::kBurst;
}

}  // namespace

Subject::Subject(const Point& point, std::span<const Station> stations)
    : point_(point),
      flows_made_for_(tracks(point) ? std::max(kFlowsPerWorker, point.traffic.flows) : 1),
      counters_(point.workers),
      publication_(std::make_unique<Publication>(point.workers, allocate, &shared_.next_hops)) {
  shared_.publication = publication_.get();
  if (point.shares) shared_.sharing = std::make_unique<FlowSharing>(flows_made_for_, point.workers);
  shared_.macs.store(0, {2, 0, 0, 0, 0, 1});
  const size_t bytes = ConnectionTable::bytes_for(flows_made_for_);
  for (uint32_t i = 0; i < point.workers; ++i) {
    TrafficSpec part = point.traffic;
    part.flows = std::max<uint64_t>(part.flows / point.workers, 1);
    part.first_flow += static_cast<uint32_t>(i * part.flows);
    lanes_.push_back({stations[i], Traffic(part), allocate(bytes), nullptr});
    std::memset(lanes_[i].table.get(), 0, bytes);
    shared_.flows.push_back(
        {ConnectionTable(flows_made_for_, {lanes_[i].table.get(), bytes}), FragmentMemory()});
  }
  if (point.next_hop_known) {
    NextHop hop;
    hop.state = NextHop::kResolved;
    hop.mac = {2, 0, 0, 0, 0, 3};
    hop.mtu = kUnderlayMtu;
    for (uint32_t id = 0; id < point.pools * kBackends; ++id) shared_.next_hops.store(id, hop);
  }
  const auto now_s = static_cast<uint32_t>(dpdk::worker_clock_ms() / 1000);
  if (auto published = publication_->publish(build_snapshot(make_snapshot(point)), {}, now_s); !published)
    throw std::runtime_error(published.error());
  // To each worker its own port is the first interface, by which its packets leave.
  for (uint32_t i = 0; i < point.workers; ++i) {
    const dpdk::Lane port = lanes_[i].station.lane;
    lanes_[i].worker = std::make_unique<dpdk::Worker>(i, shared_, std::vector{dpdk::Worker::Source{0, port}},
                                                      std::vector{port}, counters_.row(i), nullptr, true);
  }
  if (!tracks(point)) return;
  for (Lane& lane : lanes_) fill(lane);
}

void Subject::go_in_lanes(const LanePath* lanes) {
  for (Lane& lane : lanes_) lane.worker->go_in_lanes(lanes);
}

void Subject::feed(Traffic& traffic, Lane& lane, const Supply::Plan& plan, Meeting& meeting) {
  lane.run = lane.station.supply.feed(traffic, plan, meeting, shared_.running, [&] { loop(lane); });
}

void Subject::loop(Lane& lane) {
  switch (point_.loop) {
    case Loop::kWorker:
      return lane.worker->run();
    case Loop::kMacSwap:
      return swap_macs(lane.station.lane, shared_.running, steps_);
    case Loop::kReturn:
      return send_back(lane.station.lane, shared_.running);
    case Loop::kDrop:
      return drop_all(lane.station.lane, shared_.running);
  }
}

void Subject::fill(Lane& lane) {
  const auto run = [&](TrafficSpec filler) {
    filler.order = Order::kInTurn;
    Traffic traffic(filler);
    Meeting alone(1);
    shared_.running = true;
    feed(traffic, lane, {.unmeasured = whole_bursts(filler.flows), .measured = Supply::kBurst}, alone);
  };
  const uint64_t capacity = shared_.flows[0].connections.capacity();
  if (point_.bystander) {  // within its share, which is a half
    TrafficSpec bystander = point_.traffic;
    bystander.first_service = point_.traffic.services;
    bystander.first_flow = kBystanderFlows;
    bystander.flows = capacity / 4;
    run(bystander);
  }
  TrafficSpec filler = lane.traffic.spec();
  if (point_.table != Table::kOfTheFlows) {
    filler.first_flow = kFillerFlows;
    filler.flows = 2 * capacity;
  }
  run(filler);
}

/// Runs `feed` for each lane, at the same time, each on its core.
template <typename Feed>
void Subject::on_all(Feed feed) {
  struct Task {
    Feed& feed;
    Lane& lane;
    static int run(void* given) {
      const auto& [feed, lane] = *static_cast<Task*>(given);
      feed(lane);
      return 0;
    }
  };
  std::vector<Task> tasks;
  for (Lane& lane : lanes_) tasks.push_back({feed, lane});
  shared_.running = true;
  for (size_t i = 1; i < tasks.size(); ++i)
    rte_eal_remote_launch(Task::run, &tasks[i], lanes_[i].station.lcore);
  Task::run(&tasks[0]);
  for (size_t i = 1; i < tasks.size(); ++i) rte_eal_wait_lcore(lanes_[i].station.lcore);
}

uint64_t Subject::unmeasured() const {
  if (point_.table == Table::kFullOfYoung) return whole_bursts(2 * shared_.flows[0].connections.capacity());
  return whole_bursts(std::min(point_.traffic.flows / point_.workers, kMostSeenBefore));
}

double Subject::round(uint64_t packets) {
  const auto unstored = [&] {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < point_.workers; ++i) sum += counters_.row(i).flows_unstored;
    return sum;
  };
  const uint64_t unstored_before = unstored();
  const uint64_t bystanders_before = bystanders();
  Meeting meeting(point_.workers);
  on_all([&](Lane& lane) {
    feed(lane.traffic, lane, {.unmeasured = unmeasured(), .measured = packets}, meeting);
  });
  unstored_ += unstored() - unstored_before;
  displaced_ += bystanders_before - bystanders();
  double each_ns = 0;
  for (const Lane& lane : lanes_) {
    check(lane);
    each_ns += 1 / lane.run.ns;
  }
  return 1 / each_ns;
}

Subject::Latency Subject::latency(uint64_t packets, double mean_ns) {
  Arrivals arrivals(mean_ns * static_cast<double>(rte_get_tsc_hz()) / 1e9);
  Meeting alone(1);
  shared_.running = true;
  feed(lanes_[0].traffic, lanes_[0],
       {.unmeasured = unmeasured(), .measured = whole_bursts(packets), .arrivals = &arrivals}, alone);
  check(lanes_[0]);
  return {arrivals.stays(), lanes_[0].run.ns};
}

/// Nothing comes for it, so that its entries can only become fewer.
uint64_t Subject::bystanders() const {
  return point_.bystander ? shared_.flows[0].connections.entries_of(point_.traffic.services) : 0;
}

/// Every packet must have gone the way that the point is about. Under attack that is a result.
void Subject::check(const Lane& lane) {
  const bool drops = point_.loop == Loop::kDrop || point_.axis == "ends early";
  const uint64_t not_sent = lane.run.delivered - lane.run.sent;
  if (point_.bystander) {
    dropped_ += not_sent;
  } else if (not_sent != (drops ? lane.run.delivered : 0)) {
    throw std::runtime_error(
        fmt::format("{}: {} of {} packets were sent", point_.name, lane.run.sent, lane.run.delivered));
  }
}

double Subject::table_bytes_for_a_flow() const {
  if (!tracks(point_)) return 0;
  return static_cast<double>(ConnectionTable::bytes_for(flows_made_for_)) /
         static_cast<double>(flows_made_for_);
}

}  // namespace linimo::bench
