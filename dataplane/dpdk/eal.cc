#include "dataplane/dpdk/eal.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include "dataplane/dpdk/af_xdp.h"
#include "dataplane/dpdk/device_kind.h"
#include "dataplane/dpdk/pci.h"
#include "dataplane/dpdk/port.h"
#include "dataplane/netdev.h"

namespace linimo::dpdk {
namespace {

bool is_virtual_device(const std::string& name) {
  return name.starts_with("net_");
}

bool hugepages_free() {
  std::error_code ignored;
  for (const auto& size : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
    uint64_t pages = 0;
    std::ifstream(size.path() / "free_hugepages") >> pages;
    if (pages > 0) return true;
  }
  return false;
}

/// Where each worker runs: as configured, else on the last CPUs, so that the first is left to everything
/// else.
std::vector<unsigned> worker_cpus(const NodeConfig& config, const std::vector<unsigned>& allowed) {
  if (!config.cores.empty()) return {config.cores.begin(), config.cores.end()};
  return {allowed.end() - std::min<ptrdiff_t>(config.workers, static_cast<ptrdiff_t>(allowed.size())),
          allowed.end()};
}

struct Plan {
  bool any_pci = false;
  std::vector<Interface> interfaces;
};

std::string af_xdp_device(const std::string& netdev, uint32_t queue) {
  return fmt::format("net_af_xdp_{}_{}", netdev, queue);
}

std::string af_xdp_options(const std::string& netdev, uint32_t queue) {
  return fmt::format("iface={},start_queue={},queue_count=1,busy_budget=0", netdev, queue);
}

/// A netdev is taken through AF_XDP, one DPDK port per receive queue: the driver counts only "combined"
/// channels, which virtual NICs do not have. Here the first queue's alone: see take_other_queues.
tl::expected<PortPlan, std::string> plan_netdev(const std::string& name, uint32_t workers) {
  const auto facts = netdev_facts(name);
  if (!facts) return tl::unexpected(facts.error());
  Netlink netlink;
  if (std::string why = refusal_of_device(netlink, facts->index); !why.empty())
    return tl::unexpected(std::move(why));
  if (facts->queues < workers) {
    return tl::unexpected(
        fmt::format("{} has {} receive queue(s), fewer than the {} workers; set [node] workers to {} "
                    "or give it more queues (ethtool -L {} combined {})",
                    name, facts->queues, workers, facts->queues, name, workers));
  }
  return PortPlan{"vdev", af_xdp_device(name, 0), af_xdp_options(name, 0), 1};
}

tl::expected<Plan, std::string> plan_ports(const NodeConfig& config) {
  Plan plan;
  for (const std::string& name : config.interfaces) {
    Interface interface {
      .name = name, .netdev = {}, .plan = {}, .lanes = {}
    };
    const auto queues = static_cast<uint16_t>(config.workers);
    if (const auto pci = pci_name(name)) {
      plan.any_pci = true;
      interface.plan = {"pci", *pci, "", queues};
    } else if (is_virtual_device(name)) {
      const size_t comma = std::min(name.find(','), name.size());
      interface.plan = {"vdev", name.substr(0, comma), name.substr(std::min(comma + 1, name.size())), queues};
    } else {
      auto planned = plan_netdev(name, config.workers);
      if (!planned) return tl::unexpected(planned.error());
      interface.netdev = name;
      interface.plan = std::move(*planned);
    }
    plan.interfaces.push_back(std::move(interface));
  }
  return plan;
}

/// About what the ports' buffers and all else will take.
uint64_t megabytes_for(const Plan& plan, const NodeConfig& config) {
  constexpr uint64_t kAllElse = 32;
  uint64_t bytes = 0;
  for (const Interface& interface : plan.interfaces) {
    const auto facts =
        interface.netdev.empty() ? NetdevFacts{} : netdev_facts(interface.netdev).value_or(NetdevFacts{});
    const bool af_xdp = !interface.netdev.empty();
    const uint32_t queues = af_xdp ? facts.queues : interface.plan.queues;
    bytes += queues * bytes_of_pool(af_xdp ? facts.mtu : config.mtu, af_xdp);
  }
  return (bytes >> 20) + kAllElse;
}

}  // namespace

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  std::vector<unsigned> cpus;
  sched_getaffinity(0, sizeof set, &set);
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

tl::expected<Eal, std::string> start_eal(const NodeConfig& config, bool reserves) {
  const auto allowed = allowed_cpus();
  const auto cpus = worker_cpus(config, allowed);
  if (cpus.size() < config.workers) {
    return tl::unexpected(
        fmt::format("{} workers but {} CPUs; lower [node] workers", config.workers, cpus.size()));
  }
  auto plan = plan_ports(config);
  if (!plan) return tl::unexpected(plan.error());

  Eal eal;
  eal.hugepages = hugepages_free();
  // The first lcore is the control thread, which may run wherever it finds room; workers are pinned.
  std::string lcores = fmt::format("0@({})", fmt::join(allowed, ","));
  for (uint32_t i = 0; i < config.workers; ++i) lcores += fmt::format(",{}@{}", i + 1, cpus[i]);
  std::vector<std::string> arguments = {"linimo-dataplane", "--lcores",      lcores,
                                        "--log-level",      "lib.eal:error", "--no-telemetry"};
  // A NIC without an IOMMU takes physical addresses alone, which DPDK finds out, and which need hugepages.
  if (!plan->any_pci || !eal.hugepages) arguments.push_back("--iova-mode=va");
  if (eal.hugepages) {
    arguments.push_back("--in-memory");
    if (reserves) arguments.insert(arguments.end(), {"-m", fmt::format("{}", megabytes_for(*plan, config))});
  } else {
    spdlog::warn(
        "no hugepages: forwarding works at less than half the speed; reserve some with "
        "`sysctl vm.nr_hugepages=512` and start again");
    arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "-m", "512"});
  }
  // No NIC has this address: those that the configuration names are added once they are wanted.
  if (plan->any_pci)
    arguments.insert(arguments.end(), {"-a", "ffff:ff:1f.7"});
  else
    arguments.emplace_back("--no-pci");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    return tl::unexpected(
        fmt::format("DPDK did not start ({}); its own words are above", rte_strerror(rte_errno)));
  }

  eal.interfaces = std::move(plan->interfaces);
  for (uint32_t i = 0; i < config.workers; ++i) eal.worker_lcores.push_back(i + 1);
  return eal;
}

tl::expected<void, std::string> add_ports(Eal& eal) {
  for (Interface& interface : eal.interfaces) {
    const auto& [bus, device, options, queues] = interface.plan;
    Lane lane;
    if (rte_eal_hotplug_add(bus.c_str(), device.c_str(), options.c_str()) != 0 ||
        rte_eth_dev_get_port_by_name(device.c_str(), &lane.port_id) != 0) {
      return tl::unexpected(bus == "pci"
                                ? pci_problem(device, eal.hugepages)
                                : fmt::format("DPDK made no port {}; its own words are above", device));
    }
    for (lane.queue = 0; lane.queue < queues; ++lane.queue) interface.lanes.push_back(lane);
  }
  return {};
}

void remove_ports(const std::vector<Interface>& interfaces) {
  for (const Interface& interface : interfaces) {
    // A virtual device is free when it is closed; a PCI device's file in /dev stays open until this.
    if (interface.plan.bus == "pci") rte_eal_hotplug_remove("pci", interface.plan.device.c_str());
  }
  close_af_xdp_sockets();
}

tl::expected<void, std::string> take_other_queues(Interface& interface) {
  const auto facts = netdev_facts(interface.netdev);
  if (!facts) return tl::unexpected(facts.error());
  for (uint32_t queue = 1; queue < facts->queues; ++queue) {
    const std::string device = af_xdp_device(interface.netdev, queue);
    Lane lane;
    if (rte_eal_hotplug_add("vdev", device.c_str(), af_xdp_options(interface.netdev, queue).c_str()) != 0 ||
        rte_eth_dev_get_port_by_name(device.c_str(), &lane.port_id) != 0) {
      return tl::unexpected(fmt::format("DPDK made no port {}; its own words are above", device));
    }
    interface.lanes.push_back(lane);
  }
  return {};
}

}  // namespace linimo::dpdk
