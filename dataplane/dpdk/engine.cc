#include "dataplane/dpdk/engine.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <spdlog/spdlog.h>
#include <xxhash.h>

#include "dataplane/dpdk/af_xdp.h"
#include "dataplane/dpdk/device_kind.h"
#include "dataplane/dpdk/dpdk_capture.h"
#include "dataplane/dpdk/rss_key.h"
#include "dataplane/forward/trace.h"
#include "dataplane/netdev.h"

namespace linimo::dpdk {
namespace {

/// Hugepages where there are any.
Generation::Memory allocate(size_t bytes) {
  auto* memory = static_cast<std::byte*>(rte_malloc("linimo", bytes, RTE_CACHE_LINE_SIZE));
  return memory == nullptr ? Generation::Memory()
                           : Generation::Memory(memory, [](std::byte* block) { rte_free(block); });
}

int worker_main(void* worker) {
  static_cast<Worker*>(worker)->run();
  return 0;
}

bool polls_busily(const NodeConfig& config) {
  if (config.idle != IdlePolicy::kAuto) return config.idle == IdlePolicy::kBusy;
  return allowed_cpus().size() > config.workers + 1;
}

constexpr std::chrono::milliseconds kLinkAgain{3000};  // within handover::giving_limit()
constexpr std::chrono::milliseconds kQueueFree{1000};
constexpr auto kSettlePeriod = std::chrono::seconds(1);

/// Linimo forwards by the NIC itself: what the kernel has put on it would fall silent.
tl::expected<void, std::string> stands_alone(Netlink& netlink, const Interface& interface) {
  if (interface.netdev.empty()) return {};
  const auto facts = netdev_facts(interface.netdev);
  if (!facts) return tl::unexpected(facts.error());
  const auto others = devices_that_need(netlink, facts->index);
  if (others.empty()) return {};
  return tl::unexpected(fmt::format(
      "{}: {} would get no packets while DPDK has {}; remove it (VLANs may be made anew on linimo0), "
      "or take engine \"xdp\"",
      interface.netdev, fmt::join(others, ", "), interface.netdev));
}

uint32_t now_s() {
  return static_cast<uint32_t>(worker_clock_ms() / 1000);
}

}  // namespace

DpdkEngine::DpdkEngine(const NodeConfig& config, Eal eal, ConditionBoard& board)
    : board_(board), eal_(std::move(eal)), counters_(config.workers + 1), stalls_(counters_.block(), board) {
  for (uint32_t worker = 0; worker < config.workers; ++worker)
    stalls_.follow(worker, fmt::format("worker {}", worker));
  stalls_.follow(config.workers, "kernel path");
}

tl::expected<std::unique_ptr<DpdkEngine>, std::string> DpdkEngine::start(const NodeConfig& config, Eal eal,
                                                                         Guardian& guardian,
                                                                         std::vector<UniqueFd> taps,
                                                                         EventLoop& loop,
                                                                         ConditionBoard& board) {
  if (config.interfaces.size() > kMaxPorts) {
    return tl::unexpected(
        fmt::format("{} interfaces; at most {} can be served", config.interfaces.size(), kMaxPorts));
  }
  const bool takes_over = !taps.empty();
  if (auto added = add_ports(eal); !added) return tl::unexpected(added.error());
  std::unique_ptr<DpdkEngine> engine(new DpdkEngine(config, std::move(eal), board));
  engine->shared_.lanes = lane_path(config.lanes);
  if (engine->shared_.lanes == nullptr && config.lanes != "auto" && config.lanes != "off") {
    return tl::unexpected(
        fmt::format("[node] lanes = \"{}\": this CPU has no such instructions; take \"auto\"", config.lanes));
  }
  if (auto taken = engine->take_interfaces(config, guardian, std::move(taps)); !taken)
    return tl::unexpected(taken.error());
  if (auto made = engine->make_workers(config); !made) return tl::unexpected(made.error());
  // In a hand-over the kernel is not to lose what hangs on linimo0's carrier for a moment without.
  if (takes_over) {
    for (const Interface& interface : engine->eal_.interfaces)
      wait_for_link(interface.lanes.front().port_id, kLinkAgain);
  }
  engine->watch_ = std::make_unique<PortWatch>(loop, board, engine->counters(), engine->eal_.interfaces,
                                               engine->netdevs_, engine->shared_.macs, *engine->exception_);
  loop.every(kSettlePeriod, [engine = engine.get()] {
    engine->publication_->settle_slots(now_s());
    if (const Generation* live = engine->publication_->live()) engine->shared_.sharing->sweep(*live, now_s());
    engine->tables_->note(now_s(), engine->board_);
  });
  loop.every(StallWatch::kPeriod, [engine = engine.get()] { engine->stalls_.look(); });
  return engine;
}

tl::expected<PortFacts, std::string> DpdkEngine::take_ports(Interface& interface, uint16_t mtu) {
  PortFacts port;
  const bool one_port = interface.lanes.front().port_id == interface.lanes.back().port_id;
  const auto queues = static_cast<uint16_t>(one_port ? interface.lanes.size() : 1);
  for (size_t lane = 0; lane < interface.lanes.size(); ++lane) {
    const auto [port_id, queue] = interface.lanes[lane];
    if (queue != 0) continue;  // each port once
    const auto configured = configure_port(port_id, queues, mtu, rss_key_);
    if (!configured) return tl::unexpected(configured.error());
    port = *configured;
    if (lane != 0 || interface.netdev.empty()) continue;
    if (auto taken = take_other_queues(interface); !taken) return tl::unexpected(taken.error());
  }
  return port;
}

tl::expected<void, std::string> DpdkEngine::take_interfaces(const NodeConfig& config, Guardian& guardian,
                                                            std::vector<UniqueFd> taps) {
  Netlink netlink;
  for (const Interface& interface : eal_.interfaces) {
    if (auto alone = stands_alone(netlink, interface); !alone) return alone;
  }
  if (config.workers > 1) {
    auto key = rss_key(config);
    if (!key) return tl::unexpected(key.error());
    rss_key_ = std::move(*key);
  }
  const bool takes_over = !taps.empty();
  if (takes_over && taps.size() != eal_.interfaces.size())
    return tl::unexpected(
        fmt::format("{} TAPs were handed over, not {}", taps.size(), eal_.interfaces.size()));
  exception_ = std::make_unique<KernelPath>(counters_.row(static_cast<uint32_t>(eal_.worker_lcores.size())));
  std::vector<DeviceState> devices;
  std::vector<int> taps_of_devices;
  for (size_t i = 0; i < eal_.interfaces.size(); ++i) {
    Interface& interface = eal_.interfaces[i];
    uint16_t mtu = config.mtu;
    NetdevFacts netdev;
    if (!interface.netdev.empty()) {
      const auto facts = netdev_facts(interface.netdev);
      if (!facts) return tl::unexpected(facts.error());
      netdev = *facts;
      mtu = netdev.mtu;
      keep_vlan_tags(interface.netdev);
      if (auto everything = receive_everything(netdev.index)) {
        unfiltered_.push_back(std::move(*everything));
      } else {
        spdlog::warn("{}: its NIC may filter multicast and VLANs, and so hide IPv6 neighbours: {}",
                     interface.netdev, everything.error());
      }
    }
    if (takes_over && !interface.netdev.empty()) {
      for (uint32_t queue = 0; queue < netdev.queues; ++queue)
        wait_for_free_queue(netdev.index, queue, kQueueFree);  // else it is said when it is taken
    }
    const auto port = take_ports(interface, mtu);
    if (!port) return tl::unexpected(port.error());
    shared_.macs.store(static_cast<uint32_t>(i), port->mac);
    netdevs_.push_back(netdev);

    const std::string name = fmt::format("linimo{}", i);
    auto tap = takes_over ? adopt_tap(name, std::move(taps[i]))
                          : create_tap(name, port->mac, port->mtu, !interface.netdev.empty());
    if (!tap) return tl::unexpected(tap.error());
    board_.announce_by(interface.name, tap->name);
    if (!interface.netdev.empty() && !takes_over) {
      devices.push_back(read_device(netlink, interface.netdev, netdev.index));
      devices.back().tap = tap->name;
      taps_of_devices.push_back(tap->index);
    }
    if (auto added = exception_->add(std::move(*tap), pool_of(interface.lanes.front().port_id)); !added)
      return added;
  }

  if (!takes_over) guardian.protect(devices);
  for (const Interface& interface : eal_.interfaces) {
    for (const Lane& lane : interface.lanes) {
      if (lane.queue != 0) continue;
      if (auto started = start_port(lane.port_id); !started) return started;
    }
  }
  for (size_t i = 0; i < devices.size(); ++i) {
    for (const std::string& failure : move_to(netlink, devices[i], taps_of_devices[i])) {
      spdlog::error("{} does not take over {}", devices[i].tap, failure);
    }
    spdlog::info("{} stands for {} now: {} addresses and {} routes moved", devices[i].tap, devices[i].name,
                 devices[i].addresses.size(), devices[i].routes.size());
  }
  return {};
}

tl::expected<void, std::string> DpdkEngine::make_workers(const NodeConfig& config) {
  publication_ = std::make_unique<Publication>(config.workers, allocate, &shared_.next_hops);
  shared_.publication = publication_.get();
  const bool busy = polls_busily(config);
  auto tables = TableMemory::make(config, config.workers > 1 ? spread() : 0, allocate, board_);
  if (!tables) return tl::unexpected(tables.error());
  tables_.emplace(std::move(*tables));
  for (uint32_t w = 0; w < config.workers; ++w)  // all of them first: workers look into each other's
    shared_.flows.push_back(tables_->flows_of(w));
  shared_.sharing = std::make_unique<FlowSharing>(config.flows_per_worker, config.workers);
  for (uint32_t w = 0; w < config.workers; ++w) {
    std::vector<Worker::Source> receive;
    std::vector<Lane> transmit;
    for (uint32_t i = 0; i < eal_.interfaces.size(); ++i) {
      const auto& lanes = eal_.interfaces[i].lanes;
      for (size_t lane = w; lane < lanes.size(); lane += config.workers) receive.push_back({i, lanes[lane]});
      transmit.push_back(lanes[w]);
    }
    workers_.push_back(std::make_unique<Worker>(w, shared_, std::move(receive), std::move(transmit),
                                                counters_.row(w), exception_.get(), busy));
  }
  exception_->start();
  launched_ = true;
  for (uint32_t w = 0; w < config.workers; ++w) {
    if (rte_eal_remote_launch(worker_main, workers_[w].get(), eal_.worker_lcores[w]) != 0) {
      return tl::unexpected(fmt::format("worker {} does not start", w));
    }
  }
  spdlog::info(
      "frames that come in several buffers are put together in one; what is longer than that, {} bytes, is "
      "dropped as fragmented_frame",
      room_for_frames(eal_.interfaces.front().lanes.front().port_id));
  spdlog::info("{} worker(s), idle policy {}, {} flows each, {}", config.workers, busy ? "busy" : "adaptive",
               config.flows_per_worker, manner());
  return {};
}

DpdkEngine::~DpdkEngine() {
  shared_.running = false;
  if (launched_) rte_eal_mp_wait_lcore();
  exception_.reset();
  for (const Interface& interface : eal_.interfaces) {
    for (const Lane& lane : interface.lanes) {
      if (lane.queue == 0) close_port(lane.port_id);
    }
  }
  remove_ports(eal_.interfaces);
  workers_.clear();
  publication_.reset();
  if (tables_) tables_->note(now_s(), board_);
  tables_.reset();
  rte_eal_cleanup();
}

tl::expected<void, std::string> DpdkEngine::publish(std::span<const std::byte> snapshot) {
  static_assert(Publication::kWaitingPeriod == StallWatch::kPeriod);
  auto published = publication_->publish(
      snapshot, host_addresses_, now_s(),
      [this] {
        stalls_.look();
        waits();
      },
      [this](const SnapshotView& next) { tables_->take_over(next, worker_clock_ms(), shared_.flows); });
  if (published) tables_->note(publication_->live()->snapshot(), now_s());
  return published;
}

/// Whose flow it is: of which interface's which queue. (A netdev's RSS is the kernel's, and the same until
/// somebody changes it, which a process that goes on would not notice either.)
uint64_t DpdkEngine::spread() const {
  std::vector<uint64_t> parts = {
      XXH3_64bits(rss_key_.data(), rss_key_.size())};  // not every device tells its own
  for (const Interface& interface : eal_.interfaces) {
    parts.insert(parts.end(),
                 {XXH3_64bits(interface.name.data(), interface.name.size()), interface.lanes.size()});
    for (const Lane& lane : interface.lanes) {
      if (lane.queue == 0) parts.push_back(rss_digest(lane.port_id));
    }
  }
  return XXH3_64bits(parts.data(), parts.size() * sizeof parts.front());
}

std::string DpdkEngine::manner() const {
  return shared_.lanes == nullptr ? "packets one by one"
                                  : fmt::format("eight packets at a time by {}", shared_.lanes->name);
}

std::optional<SnapshotView> DpdkEngine::live() const {
  const Generation* live = publication_->live();
  return live != nullptr ? std::optional(live->snapshot()) : std::nullopt;
}

void DpdkEngine::set_host_addresses(std::vector<Address> addresses) {
  if (addresses == host_addresses_) return;
  host_addresses_ = std::move(addresses);
  if (publication_->live() == nullptr) return;
  if (auto published = publish(publication_->live()->snapshot().bytes()); !published) {
    spdlog::error("the live generation could not take the host's new addresses: {}", published.error());
  }
}

tl::expected<Traced, std::string> DpdkEngine::trace(const TraceRequest& request) {
  rte_mempool* pool = pool_of(eal_.interfaces.at(request.port).lanes.front().port_id);
  std::vector<uint32_t> all(workers_.size());
  std::iota(all.begin(), all.end(), 0);
  auto traced = trace_where_known(all, [&](uint32_t worker) -> tl::expected<Traced, std::string> {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
    if (mbuf == nullptr) return tl::unexpected<std::string>("no buffer is free: the workers have them all");
    if (request.frame.size() > rte_pktmbuf_tailroom(mbuf)) {
      const uint16_t most = rte_pktmbuf_tailroom(mbuf);
      rte_pktmbuf_free(mbuf);
      return tl::unexpected(
          fmt::format("a buffer of {} holds frames of {} bytes", eal_.interfaces[request.port].name, most));
    }
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(request.frame.size())), request.frame.data(),
                request.frame.size());
    return trace_packet({shared_.macs, shared_.next_hops, shared_.flows, worker, workers_[worker]->memory(),
                         publication_->live(), worker_clock_ms()},
                        request.port, mbuf);
  });
  if (traced) traced->leaves_by = eal_.interfaces.at(traced->port).name;
  return traced;
}

tl::expected<std::unique_ptr<Capture>, std::string> DpdkEngine::capture(const CaptureRequest& request) {
  std::vector<CaptureSlot*> slots;
  for (const auto& worker : workers_) slots.push_back(&worker->capture());
  return std::make_unique<DpdkCapture>(request, std::move(slots));
}

FlowTables DpdkEngine::flow_tables() const {
  FlowTables all{LINIMO_SECONDS, now_s(), {}};
  for (uint32_t worker = 0; worker < shared_.flows.size(); ++worker) {
    const ConnectionTable& table = shared_.flows[worker].connections;
    all.tables.push_back({worker, table.words(), table.buckets()});
  }
  return all;
}

tl::expected<size_t, std::string> DpdkEngine::remove_flows(std::span<const FlowPlace> places) {
  size_t removed = 0;
  while (!places.empty()) {
    const uint32_t row = places.front().row;
    const auto end = std::ranges::find_if(places, [row](const FlowPlace& place) { return place.row != row; });
    const auto its = places.first(std::min(static_cast<size_t>(end - places.begin()), FlowRemoval::kMost));
    const auto gone = workers_.at(row)->remove_flows(its);
    if (!gone) return tl::unexpected(fmt::format("worker {} does not answer", row));
    removed += *gone;
    places = places.subspan(its.size());
  }
  return removed;
}

std::vector<linimo_flow_word> DpdkEngine::words_to_tell(size_t most) {
  const Generation* live = publication_->live();
  return live != nullptr ? shared_.sharing->take(most, *live, now_s()) : std::vector<linimo_flow_word>();
}

void DpdkEngine::hear(std::span<const linimo_flow_word> words) {
  if (const Generation* live = publication_->live()) shared_.sharing->hear(words, *live, worker_clock_ms());
}

std::vector<std::pair<std::string, Mac>> DpdkEngine::interfaces() const {
  std::vector<std::pair<std::string, Mac>> all;
  for (uint32_t port = 0; port < eal_.interfaces.size(); ++port) {
    const uint64_t word = shared_.macs.load(port);
    std::memcpy(all.emplace_back(eal_.interfaces[port].name, Mac{}).second.data(), &word, sizeof(Mac));
  }
  return all;
}

std::vector<Egress> DpdkEngine::egresses() const {
  std::vector<Egress> egresses;
  for (uint32_t i = 0; i < eal_.interfaces.size(); ++i)
    egresses.push_back({exception_->tap_index(i), static_cast<uint8_t>(i)});
  return egresses;
}

}  // namespace linimo::dpdk
