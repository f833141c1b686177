#include "bench/forwarding/subject.h"

#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#include "bench/forwarding/loops.h"

namespace linimo::bench {
namespace {

constexpr uint64_t kFlowsPerWorker = 1 << 20;  // at least; what [node] flows_per_worker is unless it is set
constexpr uint64_t kMostSeenBefore = 1 << 20;  // packets that come before the measured ones, at most
constexpr uint16_t kUnderlayMtu = 9000;        // that a tunnelled packet of 1500 bytes is not too big
constexpr uint32_t kFillerFlows = 1U << 29;    // their first number

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
  for (uint32_t s = 0; s < point.traffic.services; ++s) {
    ServiceSpec service;
    service.name = fmt::format("service{}", s);
    service.id = s;
    service.pool = s % point.pools;
    service.tracking = point.tracking;
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

Subject::Subject(const Point& point, Supply& supply, dpdk::Lane lane)
    : point_(point),
      supply_(supply),
      lane_(lane),
      traffic_(point.traffic),
      flows_made_for_(tracks(point) ? std::max(kFlowsPerWorker, point.traffic.flows) : 1),
      publication_(std::make_unique<Publication>(1, allocate)) {
  const size_t bytes = ConnectionTable::bytes_for(flows_made_for_);
  table_memory_ = allocate(bytes);
  std::memset(table_memory_.get(), 0, bytes);
  shared_.publication = publication_.get();
  shared_.macs = {Mac{2, 0, 0, 0, 0, 1}};
  shared_.flows.push_back({ConnectionTable(flows_made_for_, {table_memory_.get(), bytes}), FragmentMemory()});
  if (point.next_hop_known) {
    NextHop hop;
    hop.state = NextHop::kResolved;
    hop.mac = {2, 0, 0, 0, 0, 3};
    hop.mtu = kUnderlayMtu;
    for (uint32_t id = 0; id < point.pools * kBackends; ++id) shared_.next_hops.store(id, hop);
  }
  const auto now_s = static_cast<uint32_t>(dpdk::worker_clock_ms(rte_rdtsc(), rte_get_tsc_hz()) / 1000);
  if (auto published = publication_->publish(build_snapshot(make_snapshot(point)), {}, now_s); !published)
    throw std::runtime_error(published.error());
  worker_ = std::make_unique<dpdk::Worker>(0, shared_, std::vector{dpdk::Worker::Source{0, lane}},
                                           std::vector{lane}, counters_.row(0), nullptr, true);
  if (tracks(point)) fill();
}

void Subject::fill() {
  TrafficSpec filler = point_.traffic;
  if (point_.table != Table::kOfTheFlows) {
    filler.first_flow = kFillerFlows;
    filler.flows = 2 * shared_.flows[0].connections.capacity();
  }
  filler.order = Order::kInTurn;
  Traffic traffic(filler);
  supply_.feed(traffic, whole_bursts(filler.flows), Supply::kBurst, shared_.running, [&] { worker_->run(); });
}

double Subject::round(uint64_t packets) {
  uint64_t before = std::min(point_.traffic.flows, kMostSeenBefore);
  if (point_.table == Table::kFullOfYoung) before = 2 * shared_.flows[0].connections.capacity();
  before = whole_bursts(before);
  const WorkerCounters& counters = counters_.row(0);
  const uint64_t unstored = counters.flows_unstored;
  const auto run = supply_.feed(traffic_, before, packets, shared_.running, [&] {
    switch (point_.loop) {
      case Loop::kWorker:
        return worker_->run();
      case Loop::kMacSwap:
        return swap_macs(lane_, shared_.running);
      case Loop::kReturn:
        return send_back(lane_, shared_.running);
      case Loop::kDrop:
        return drop_all(lane_, shared_.running);
    }
  });
  unstored_ += counters.flows_unstored - unstored;
  check(run.sent, before + packets);
  return run.ns;
}

/// Every packet must have gone the way that the point is about.
void Subject::check(uint64_t sent, uint64_t delivered) const {
  const bool drops = point_.loop == Loop::kDrop || point_.axis == "stages";
  if (sent != (drops ? 0 : delivered)) {
    throw std::runtime_error(fmt::format("{}: {} of {} packets were sent", point_.name, sent, delivered));
  }
}

double Subject::table_bytes_for_a_flow() const {
  if (!tracks(point_)) return 0;
  return static_cast<double>(ConnectionTable::bytes_for(flows_made_for_)) /
         static_cast<double>(flows_made_for_);
}

}  // namespace linimo::bench
