#include "dataplane/xdp/engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <spdlog/spdlog.h>

namespace linimo::xdp {
namespace {

constexpr auto kSettlePeriod = std::chrono::seconds(1);
constexpr auto kSweepPeriod = std::chrono::milliseconds(100);  // so short that nobody waits for a sweep
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
      return "the driver refuses: lower the MTU to 3498 or less, and turn LRO off (`ethtool -K DEV lro off`)";
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

}  // namespace

tl::expected<std::unique_ptr<XdpEngine>, std::string> XdpEngine::start(const NodeConfig& config,
                                                                       EventLoop& loop,
                                                                       ConditionBoard& board) {
  std::unique_ptr<XdpEngine> engine(new XdpEngine(board));
  uint32_t rows = 0;
  for (const std::string& name : config.interfaces) {
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
    board.announce_by(name, name);
    engine->interfaces_.push_back({name, *facts, rows, {}, -1});
    rows += facts->queues;
  }
  engine->shape_ = {.rows = rows, .flows_per_row = config.flows_per_worker};

  const auto pins = Pins::open(config.runtime_dir);
  if (!pins) return tl::unexpected(pins.error());
  if (const std::string lost = pins->discard_other_shape(engine->shape_); !lost.empty())
    spdlog::warn("{}", lost);
  auto program = Program::load(engine->shape_, pins->maps());
  if (!program) return tl::unexpected(program.error());
  engine->program_ = std::move(*program);
  for (uint32_t port = 0; port < engine->interfaces_.size(); ++port) {
    if (auto attached = engine->attach(config, *pins, port); !attached)
      return tl::unexpected(attached.error());
  }
  pins->remove_orphans(config.interfaces);
  engine->hold_fragments();
  if (engine->live()) {
    spdlog::info("taken over as it was: generation {} forwards, with its flows and counters",
                 engine->live()->header().generation);
  }
  const auto sweep = [engine = engine.get()] {
    engine->program_->sweep(engine->shape_.buckets() / kSweeps + 1);
  };
  sweep();  // counts a predecessor's flows
  loop.every(kSweepPeriod, sweep);
  loop.every(kSettlePeriod, [engine = engine.get()] { engine->program_->settle(); });
  return engine;
}

/// In the place of a predecessor's program between two packets, or anew.
tl::expected<void, std::string> XdpEngine::attach(const NodeConfig& config, const Pins& pins, uint32_t port) {
  Interface& interface = interfaces_[port];
  const NetdevFacts& facts = interface.facts;
  if (auto set = program_->set_port(port, facts.index, facts.mac); !set) return set;
  const auto program = program_->program_for(port, interface.first_row);
  if (!program) return tl::unexpected(program.error());
  interface.program_fd = *program;

  const std::filesystem::path pin = pins.link(interface.name);
  UniqueFd link(bpf_obj_get(pin.c_str()));
  if (link && bpf_link_update(link.get(), *program, nullptr) == 0) {
    interface.link = std::move(link);
    spdlog::info("{}: program replaced, {} queue(s)", interface.name, facts.queues);
    return {};
  }
  std::error_code error;
  std::filesystem::remove(pin, error);  // of a device that is gone

  const bool generic_only = config.xdp_mode == XdpMode::kGeneric;
  if (!generic_only) link = create_link(*program, facts.index, XDP_FLAGS_DRV_MODE);
  if (!link && (generic_only || config.xdp_mode == XdpMode::kAuto)) {
    if (!generic_only) {
      spdlog::warn("{}: no native XDP ({}); falling back to generic mode, which is several times slower",
                   interface.name, advice(errno));
    }
    link = create_link(*program, facts.index, XDP_FLAGS_SKB_MODE);
  }
  if (!link) {
    return tl::unexpected(fmt::format("{}: the XDP program cannot be attached: {}; {}", interface.name,
                                      std::strerror(errno), advice(errno)));
  }
  if (bpf_obj_pin(link.get(), pin.c_str()) != 0)
    return tl::unexpected(fmt::format("{}: {}", pin.string(), std::strerror(errno)));
  interface.link = std::move(link);
  spdlog::info("{}: program attached, {} queue(s)", interface.name, facts.queues);
  return {};
}

/// Without AF_XDP all else goes on: only fragments that arrive out of order are lost.
void XdpEngine::hold_fragments() {
  std::vector<FragmentThread::Queue> queues;
  for (const Interface& interface : interfaces_) {
    for (uint32_t queue = 0; queue < interface.facts.queues; ++queue) {
      queues.push_back(
          {interface.name, interface.facts.index, queue, interface.first_row + queue, interface.program_fd});
    }
  }
  auto started = FragmentThread::start(*program_, queues);
  if (started)
    fragments_ = std::move(*started);
  else
    spdlog::warn("fragments that come before the first of their datagram will be dropped: {}",
                 started.error());
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

std::vector<Egress> XdpEngine::egresses() const {
  std::vector<Egress> egresses;
  for (uint8_t port = 0; port < interfaces_.size(); ++port)
    egresses.push_back({interfaces_[port].facts.index, port});
  return egresses;
}

}  // namespace linimo::xdp
