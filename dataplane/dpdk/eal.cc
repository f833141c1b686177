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

#include "dataplane/dpdk/pci.h"
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

struct PortPlan {
  std::string device;  // what DPDK will call it
  uint16_t queues;
};

struct Plan {
  std::vector<std::string> arguments;
  bool any_pci = false;
  std::vector<std::vector<PortPlan>> ports;  // of each interface
};

std::string af_xdp_device(const std::string& netdev, uint32_t queue) {
  return fmt::format("net_af_xdp_{}_{}", netdev, queue);
}

std::string af_xdp_options(const std::string& netdev, uint32_t queue) {
  return fmt::format("iface={},start_queue={},queue_count=1,busy_budget=0", netdev, queue);
}

/// A netdev is taken through AF_XDP, one DPDK port per receive queue: the driver counts only "combined"
/// channels, which virtual NICs do not have. Here the first queue's alone: see take_other_queues.
tl::expected<void, std::string> plan_netdev(const std::string& name, uint32_t workers, Plan& plan) {
  const auto facts = netdev_facts(name);
  if (!facts) return tl::unexpected(facts.error());
  if (facts->queues < workers) {
    return tl::unexpected(
        fmt::format("{} has {} receive queue(s), fewer than the {} workers; set [node] workers to {} "
                    "or give it more queues (ethtool -L {} combined {})",
                    name, facts->queues, workers, facts->queues, name, workers));
  }
  plan.arguments.push_back("--vdev");
  plan.arguments.push_back(fmt::format("{},{}", af_xdp_device(name, 0), af_xdp_options(name, 0)));
  plan.ports.push_back({{af_xdp_device(name, 0), 1}});
  return {};
}

tl::expected<Plan, std::string> plan_ports(const NodeConfig& config) {
  Plan plan;
  for (const std::string& name : config.interfaces) {
    const auto queues = static_cast<uint16_t>(config.workers);
    if (const auto pci = pci_name(name)) {
      plan.any_pci = true;
      plan.arguments.insert(plan.arguments.end(), {"-a", *pci});
      plan.ports.push_back({{*pci, queues}});
    } else if (is_virtual_device(name)) {
      plan.arguments.insert(plan.arguments.end(), {"--vdev", name});
      plan.ports.push_back({{name.substr(0, name.find(',')), queues}});
    } else if (auto planned = plan_netdev(name, config.workers, plan); !planned) {
      return tl::unexpected(planned.error());
    }
  }
  if (!plan.any_pci) plan.arguments.push_back("--no-pci");
  return plan;
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

tl::expected<Eal, std::string> start_eal(const NodeConfig& config) {
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
  } else {
    spdlog::warn(
        "no hugepages: forwarding works at less than half the speed; reserve some with "
        "`sysctl vm.nr_hugepages=512` and start again");
    arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "-m", "512"});
  }
  arguments.insert(arguments.end(), plan->arguments.begin(), plan->arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    return tl::unexpected(
        fmt::format("DPDK did not start ({}); its own words are above", rte_strerror(rte_errno)));
  }

  for (size_t i = 0; i < config.interfaces.size(); ++i) {
    Interface interface {
      .name = config.interfaces[i], .netdev = {}, .lanes = {}
    };
    const auto pci = pci_name(interface.name);
    if (!pci && !is_virtual_device(interface.name)) interface.netdev = interface.name;
    for (const PortPlan& port : plan->ports[i]) {
      Lane lane;
      if (rte_eth_dev_get_port_by_name(port.device.c_str(), &lane.port_id) != 0) {
        return tl::unexpected(
            pci ? pci_problem(*pci)
                : fmt::format("DPDK made no port {}; its own words are above", port.device));
      }
      for (lane.queue = 0; lane.queue < port.queues; ++lane.queue) interface.lanes.push_back(lane);
    }
    eal.interfaces.push_back(std::move(interface));
  }
  for (uint32_t i = 0; i < config.workers; ++i) eal.worker_lcores.push_back(i + 1);
  return eal;
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
