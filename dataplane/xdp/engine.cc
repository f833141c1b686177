#include "dataplane/xdp/engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <spdlog/spdlog.h>

#include "dataplane/xdp/native.h"
#include "dataplane/xdp/queue_rows.h"

namespace linimo::xdp {
namespace {

constexpr auto kSecond = std::chrono::seconds(1);
constexpr auto kSweepPeriod = std::chrono::milliseconds(100);  // so short that nobody waits for a sweep
constexpr uint32_t kLongestWait = 30;                          // of these periods, for ways to backends
constexpr uint64_t kSweeps = 40;  // go once round the connection tables: far below a stamp's 4096 s
constexpr uint16_t kClientMtu = 1500, kLargestOverhead = 48;

const char* advice(int error) {
  switch (error) {
    case EBUSY:
    case EEXIST:
      return "another XDP program is attached (see `ip link`; `ip link set dev DEV xdp off` takes it off)";
    case EPERM:
      return "run as root";
    case EOPNOTSUPP:
      return "the driver has no XDP, or its settings stand in the way";
    case EINVAL:
    case ERANGE:
      return "the driver refuses: it may have another limit for MTUs, or want LRO off (`ethtool -K DEV lro "
             "off`)";
    case ENOMEM:
    case ENOSPC:
      return "the driver has not enough queues: fewer channels leave some for XDP (`ethtool -L DEV combined "
             "N`)";
    default:
      return "see the kernel's log";
  }
}

UniqueFd create_link(int program, int device, uint32_t flags) {
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
  return UniqueFd(bpf_link_create(program, device, BPF_XDP, &options));
}

/// The device that a link holds the program on; 0: none any more.
int device_of_link(const UniqueFd& link) {
  bpf_link_info info{};
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(link.get(), &info, &length) == 0 ? static_cast<int>(info.xdp.ifindex) : 0;
}

/// Is there a way to every backend?
bool every_way_known(const SnapshotView& view, const NextHopTable& hops) {
  return std::ranges::all_of(view.backends(), [&](const linimo_backend& backend) {
    return hops.load(backend.id).state() == NextHop::kResolved;
  });
}

}  // namespace

tl::expected<std::unique_ptr<XdpEngine>, std::string> XdpEngine::start(const NodeConfig& config,
                                                                       EventLoop& loop,
                                                                       ConditionBoard& board) {
  std::unique_ptr<XdpEngine> engine(new XdpEngine(config, board));
  if (auto found = engine->find_interfaces(); !found) return tl::unexpected(found.error());
  if (auto loaded = engine->load(); !loaded) return tl::unexpected(loaded.error());
  engine->waits_ = !engine->live();
  for (uint32_t port = 0; port < engine->interfaces_.size(); ++port) {
    if (auto taken = engine->take(port); !taken) return tl::unexpected(taken.error());
  }
  engine->waits_ = std::ranges::any_of(engine->interfaces_, &Interface::is_predecessors);
  if (!engine->waits_) engine->pins_->remove_orphans(config.interfaces);
  engine->fragments_ = std::make_unique<FragmentThread>(*engine->program_);
  engine->watch_ = std::make_unique<DeviceWatch>(
      loop, config.interfaces, board, "take it out: ip link set DEV nomaster",
      [engine = engine.get(), netlink = std::make_shared<Netlink>()](size_t port, const NetdevFacts* now) {
        engine->follow(static_cast<uint32_t>(port), now);
        const std::string whole = now == nullptr ? "" : master_of(*netlink, now->index);
        return whole.empty() ? whole
                             : fmt::format("it is part of {}, which gets what is for this node", whole);
      });
  engine->watch_->look();
  if (engine->live()) {
    spdlog::info("taken over as it was: generation {} forwards, with its flows and counters",
                 engine->live()->header().generation);
  }
  const auto sweep = [engine = engine.get()] {
    engine->program_->sweep(engine->shape_.buckets() / kSweeps + 1);
    engine->replace_predecessors();
  };
  sweep();  // counts a predecessor's flows
  loop.every(kSweepPeriod, sweep);
  for (Interface& interface : engine->interfaces_)
    interface.losses = std::make_unique<LossWatch>(board, engine->counters(), interface.name);
  loop.every(kSecond, [engine = engine.get()] {
    engine->program_->settle_slots();
    engine->program_->sweep_told();
    engine->look_at_buffers();
    engine->count_losses();
    engine->pins_->judge(engine->board_);
  });
  return engine;
}

tl::expected<void, std::string> XdpEngine::find_interfaces() {
  std::vector<QueueCount> queues;
  for (const std::string& name : config_.interfaces) {
    auto facts = netdev_facts(name);
    if (!facts) {
      return tl::unexpected(facts.error() +
                            "; engine \"xdp\" takes netdevs (PCI addresses and DPDK devices need \"dpdk\")");
    }
    if (facts->mtu < kClientMtu + kLargestOverhead) {
      spdlog::warn(
          "{} has an MTU of {}: a client's packet of {} bytes does not fit into a tunnel, which adds 20 to "
          "{}; "
          "clients are told, but a larger MTU is better",
          name, facts->mtu, kClientMtu, kLargestOverhead);
    }
    board_.announce_by(name, name);
    interfaces_.push_back({.name = name, .facts = *facts});
    queues.push_back({facts->queues, facts->most_queues});
  }
  if (interfaces_.size() > LINIMO_MAX_PORTS) {
    return tl::unexpected(
        fmt::format("{} interfaces; at most {} can be served", interfaces_.size(), LINIMO_MAX_PORTS));
  }
  const std::vector<uint32_t> rows =
      plan_rows(queues, static_cast<uint32_t>(libbpf_num_possible_cpus()), LINIMO_MAX_ROWS - 1);
  shape_ = {.rows = 0, .flows_per_row = config_.flows_per_worker};
  for (size_t port = 0; port < interfaces_.size(); ++port) {
    interfaces_[port].first_row = shape_.rows;
    interfaces_[port].rows = rows[port];
    shape_.rows += rows[port];
  }
  return {};
}

tl::expected<void, std::string> XdpEngine::load() {
  const auto pins = Pins::open(config_.runtime_dir);
  if (!pins) return tl::unexpected(pins.error());
  pins_ = *pins;
  if (const std::string lost = pins_->discard_other_shape(shape_); !lost.empty()) spdlog::warn("{}", lost);
  auto program = Program::load(shape_, pins_->maps());
  if (!program) return tl::unexpected(program.error());
  program_ = std::move(*program);
  return {};
}

/// The first time.
tl::expected<void, std::string> XdpEngine::take(uint32_t port) {
  Interface& interface = interfaces_[port];
  if (auto set = set_port(port); !set) return set;
  if (auto loaded = load_program(port); !loaded) return loaded;
  // Before its packets come: a flow that begins now is to be tracked.
  for (uint32_t queue = 0; queue < std::min(interface.facts.queues, interface.rows); ++queue) {
    if (auto served = program_->serve(interface.first_row + queue); !served) return served;
  }
  return attach(interface);
}

tl::expected<void, std::string> XdpEngine::set_port(uint32_t port) {
  Interface& interface = interfaces_[port];
  interface.takes_several = sends_several_buffers(interface.facts.index);
  return program_->set_port(port, interface.facts.index, interface.facts.mac, interface.takes_several);
}

/// A veth, for one, begins to take them once its other end has a program.
void XdpEngine::look_at_buffers() {
  if (interfaces_.size() < 2) return;  // a frame leaves as it came in
  for (uint32_t port = 0; port < interfaces_.size(); ++port) {
    const Interface& interface = interfaces_[port];
    if (interface.facts.index == 0 || sends_several_buffers(interface.facts.index) == interface.takes_several)
      continue;
    if (auto set = set_port(port); !set) spdlog::error("{}: {}", interface.name, set.error());
  }
}

tl::expected<void, std::string> XdpEngine::load_program(uint32_t port) {
  Interface& interface = interfaces_[port];
  const auto program = program_->program_for(port, interface.first_row, interface.rows);
  if (!program) return tl::unexpected(program.error());
  *interface.program = *program;
  return {};
}

/// In the place of another program of ours between two packets, or anew. One whose maps cannot be taken over
/// stays until ours hold what it would forward by.
tl::expected<void, std::string> XdpEngine::attach(Interface& interface) {
  const NetdevFacts& facts = interface.facts;
  const std::filesystem::path pin = pins_->link(interface.name);
  UniqueFd link(bpf_obj_get(pin.c_str()));
  const bool ours = link && device_of_link(link) == facts.index;
  interface.is_predecessors = ours && waits_;
  if (interface.is_predecessors) {
    interface.link = std::move(link);
    spdlog::info("{}: the program before forwards on until there are tables for this one", interface.name);
    return {};
  }
  if (ours && bpf_link_update(link.get(), *interface.program, nullptr) == 0) {
    interface.link = std::move(link);
    spdlog::info("{}: program replaced", interface.name);
    return {};
  }
  keep_vlan_tags(interface.name);  // the program sees frames as they lie in memory
  release(interface);              // what is pinned is of a device that is gone

  const auto now = netdev_facts(interface.name);
  const std::string danger =
      now ? danger_of_native_xdp(interface.name, *now, static_cast<uint32_t>(libbpf_num_possible_cpus()))
          : "";
  if (!danger.empty() && config_.xdp_mode == XdpMode::kNative)
    return tl::unexpected(fmt::format("{}: {}", interface.name, danger));
  if (!danger.empty() && config_.xdp_mode == XdpMode::kAuto)
    spdlog::warn("{}: generic mode, which is several times slower: {}", interface.name, danger);
  const bool generic_only = config_.xdp_mode == XdpMode::kGeneric || !danger.empty();
  link = generic_only ? UniqueFd() : create_link(*interface.program, facts.index, XDP_FLAGS_DRV_MODE);
  if (!link && (generic_only || config_.xdp_mode == XdpMode::kAuto)) {
    const int error = errno;
    link = create_link(*interface.program, facts.index, XDP_FLAGS_SKB_MODE);
    if (link && !generic_only) {
      spdlog::warn("{}: no native XDP ({}); falling back to generic mode, which is several times slower",
                   interface.name, advice(error));
    }
  }
  if (!link) {
    return tl::unexpected(fmt::format("{}: the XDP program cannot be attached: {}; {}", interface.name,
                                      std::strerror(errno), advice(errno)));
  }
  if (bpf_obj_pin(link.get(), pin.c_str()) != 0)
    return tl::unexpected(fmt::format("{}: {}", pin.string(), std::strerror(errno)));
  interface.link = std::move(link);
  spdlog::info("{}: program attached", interface.name);
  return {};
}

/// Once there are tables and ways.
void XdpEngine::replace_predecessors() {
  if (!waits_ || !live()) return;
  if (!every_way_known(*live(), next_hops()) && ++waited_ < kLongestWait) return;
  waits_ = false;
  for (Interface& interface : interfaces_) {
    if (!std::exchange(interface.is_predecessors, false)) continue;
    if (auto attached = attach(interface); !attached) spdlog::error("{}", attached.error());
  }
  pins_->remove_orphans(config_.interfaces);
}

void XdpEngine::release(Interface& interface) {
  interface.link = {};
  std::error_code error;
  std::filesystem::remove(pins_->link(interface.name), error);
}

/// What the interface is now, against what it was when it was looked at last.
void XdpEngine::follow(uint32_t port, const NetdevFacts* now) {
  using enum ConditionState;
  Interface& interface = interfaces_[port];
  if (capture_ != nullptr && capture_->stands_on(port) &&
      (now == nullptr || now->index != interface.facts.index || now->mac != interface.facts.mac ||
       now->queues != interface.facts.queues || !interface.link ||
       device_of_link(interface.link) != now->index))
    capture_->end(fmt::format("{} has changed", interface.name));
  if (now == nullptr) {
    release(interface);
    interface.facts.index = 0;
    board_.set("program-attached", interface.name, kFails, "the interface is gone");
    board_.set("queues-served", interface.name, kUnknown, "the interface is gone");
    return hold_fragments();
  }
  const bool moved = now->index != interface.facts.index || now->mac != interface.facts.mac;
  const bool other_queues = now->queues != interface.facts.queues;
  const NetdevFacts before = std::exchange(interface.facts, *now);
  tl::expected<void, std::string> attached;
  if (moved) attached = set_port(port);
  if (attached && (!interface.link || device_of_link(interface.link) != now->index)) {
    attached = attach(interface);
  } else if (attached && other_queues) {
    // veth for one leaves queues that come without the program, until it gets another.
    attached = load_program(port);
    if (attached) attached = attach(interface);
  }
  if (attached)
    board_.set("program-attached", interface.name, kHolds);
  else
    board_.set("program-attached", interface.name, kFails, attached.error());
  serve_queues(interface);
  if (!attached) {  // so that the next look tries again
    interface.facts.queues = before.queues;
    interface.facts.mac = before.mac;
  }
  hold_fragments();
  if (moved) egresses_changed();
}

void XdpEngine::serve_queues(const Interface& interface) {
  const auto& [now, most] = std::pair(interface.facts.queues, interface.facts.most_queues);
  tl::expected<void, std::string> served;
  for (uint32_t queue = 0; served && queue < std::min(now, interface.rows); ++queue)
    served = program_->serve(interface.first_row + queue);
  const bool shares = now > interface.rows || most == 0;
  if (served && shares) served = program_->serve(shape_.spare());
  std::string evidence = fmt::format("{} queue{}", now, now == 1 ? "" : "s");
  if (now > interface.rows) {
    evidence +=
        fmt::format("; those from {} on share one row: counts may fall short a little", interface.rows);
  }
  if (served) {
    board_.set("queues-served", interface.name, ConditionState::kHolds, evidence,
               now > interface.rows ? "systemctl restart linimo-dataplane" : "");
  } else {
    board_.set("queues-served", interface.name, ConditionState::kFails,
               fmt::format("{}: new flows of some are not tracked: {}", evidence, served.error()));
  }
}

/// Without AF_XDP all else goes on: only fragments that arrive out of order are lost.
void XdpEngine::hold_fragments() {
  if (!fragments_) return;
  std::vector<FragmentThread::Queue> queues;
  std::string bond;
  for (const Interface& interface : interfaces_) {
    if (interface.facts.index == 0) continue;
    if (interface.facts.driver == "bonding") {
      bond = fmt::format("{} is a bond", interface.name);  // whose frames come on queues of its members
      continue;
    }
    for (uint32_t queue = 0; queue < std::min(interface.facts.queues, interface.rows); ++queue) {
      queues.push_back(
          {interface.name, interface.facts.index, queue, interface.first_row + queue, interface.program});
    }
  }
  std::string lost = fragments_->serve(queues);
  if (lost.empty()) lost = bond;
  if (lost == fragments_lost_) return;
  fragments_lost_ = std::move(lost);
  if (!fragments_lost_.empty()) {
    spdlog::warn(
        "fragments that come before the first of their datagram will be dropped: no AF_XDP socket: {}",
        fragments_lost_);
  }
}

/// What a driver loses of what the program sent shows nowhere else.
void XdpEngine::count_losses() {
  const uint64_t share = packets_sent(counters()) / interfaces_.size();
  for (Interface& interface : interfaces_) {
    interface.losses->look(
        {.sent = share, .transmit_lost = xdp_transmit_losses(netdev_statistics(interface.name))});
  }
}

tl::expected<void, std::string> XdpEngine::publish(std::span<const std::byte> snapshot) {
  return program_->publish(snapshot, host_addresses_);
}

void XdpEngine::set_host_addresses(std::vector<Address> addresses) {
  if (addresses == host_addresses_) return;
  host_addresses_ = std::move(addresses);
  if (!live()) return;
  if (auto published = publish(live()->bytes()); !published)
    spdlog::error("the live generation could not take the host's new addresses: {}", published.error());
}

bool XdpEngine::ready_to_trace() {
  if (traced_) return true;
  if (!traced_loading_.valid())
    traced_loading_ =
        std::async(std::launch::async, [this]() -> TracedLoaded { return TracedProgram::load(*program_); });
  return traced_loading_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

tl::expected<Traced, std::string> XdpEngine::trace(const TraceRequest& request) {
  if (!traced_) {
    TracedLoaded loaded = traced_loading_.valid() ? traced_loading_.get() : TracedProgram::load(*program_);
    if (!loaded) return tl::unexpected(loaded.error());
    traced_ = std::move(*loaded);
  }
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < shape_.all_rows(); ++row) {
    if (program_->serves(row)) rows.push_back(row);
  }
  const uint32_t first_row = interfaces_.at(request.port).first_row;
  const auto own = std::ranges::find(rows, first_row);
  if (own != rows.end()) std::rotate(rows.begin(), own, own + 1);
  if (rows.empty()) rows.push_back(first_row);
  auto traced =
      trace_where_known(rows, [&](uint32_t row) { return traced_->run(request.port, row, request.frame); });
  if (traced) traced->leaves_by = interfaces_.at(traced->port).name;
  return traced;
}

tl::expected<std::unique_ptr<Capture>, std::string> XdpEngine::capture(const CaptureRequest& request) {
  if (waits_)
    return tl::unexpected<std::string>("the program of the process before still forwards; ask again in 3 s");
  std::vector<XdpCapture::Place> places;
  for (uint32_t port = 0; port < interfaces_.size(); ++port) {
    const Interface& interface = interfaces_[port];
    if (interface.link)
      places.push_back({port, interface.first_row, interface.rows, *interface.program, interface.link.get()});
  }
  auto capture =
      XdpCapture::begin(*program_, request, places, pins_->capture(), [this] { capture_ = nullptr; });
  if (!capture) return tl::unexpected(capture.error());
  capture_ = capture->get();
  return std::move(*capture);
}

FlowTables XdpEngine::flow_tables() const {
  return program_->flow_tables();
}

tl::expected<size_t, std::string> XdpEngine::remove_flows(std::span<const FlowPlace> places) {
  return program_->remove_flows(places);
}

std::vector<std::pair<std::string, Mac>> XdpEngine::interfaces() const {
  std::vector<std::pair<std::string, Mac>> all;
  for (const Interface& interface : interfaces_) all.emplace_back(interface.name, interface.facts.mac);
  return all;
}

uint32_t XdpEngine::workers() const {
  uint32_t queues = 0;
  for (const Interface& interface : interfaces_) queues += interface.facts.queues;
  return queues;
}

std::vector<Egress> XdpEngine::egresses() const {
  std::vector<Egress> egresses;
  for (size_t port = 0; port < interfaces_.size(); ++port) {
    if (interfaces_[port].facts.index != 0)
      egresses.push_back({interfaces_[port].facts.index, static_cast<uint8_t>(port)});
  }
  return egresses;
}

}  // namespace linimo::xdp
