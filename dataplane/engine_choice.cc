#include "dataplane/engine_choice.h"

#include <algorithm>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

#include "dataplane/netdev.h"
#include "dataplane/xdp/native.h"

namespace linimo {
namespace {

// Drivers of devices that a hypervisor made: their rings end in another program, which copies.
constexpr std::string_view kVirtualDrivers[] = {"virtio_net", "vmxnet3",      "ena", "gve",
                                                "hv_netvsc",  "xen_netfront", "vif", "veth"};

bool is_netdev_name(const std::string& name) {
  return name.size() < 16 && name.find_first_of(":,/") == std::string::npos && !name.starts_with("net_");
}

bool hugepages_reserved() {
  std::ifstream file("/proc/sys/vm/nr_hugepages");
  uint64_t pages = 0;
  return file >> pages && pages > 0;
}

}  // namespace

EngineChoice choose_engine(const NodeConfig& config) {
  if (config.engine != Engine::kAuto) return {config.engine, "configured"};
  for (const std::string& name : config.interfaces) {
    if (!is_netdev_name(name)) return {Engine::kDpdk, fmt::format("auto: {} is a device of DPDK's", name)};
  }
  for (const std::string& name : config.interfaces) {
    const auto facts = netdev_facts(name);
    if (!facts) return {Engine::kXdp, fmt::format("auto: {} is no device that DPDK could take", name)};
    const bool virtual_driver = std::find(std::begin(kVirtualDrivers), std::end(kVirtualDrivers),
                                          facts->driver) != std::end(kVirtualDrivers);
    if (facts->bus.empty() || virtual_driver)
      return {Engine::kXdp, fmt::format("auto: {} is a virtual NIC ({})", name, facts->driver)};
    if (!xdp::takes_native_xdp(facts->index)) {
      return {Engine::kXdp,
              fmt::format("auto: {}'s driver {} has no native XDP, by which DPDK would take it; "
                          "bound to vfio-pci, DPDK can take its PCI address",
                          name, facts->driver)};
    }
  }
  if (!hugepages_reserved()) return {Engine::kXdp, "auto: no hugepages are reserved for DPDK"};
  return {Engine::kDpdk, "auto: physical NICs, and hugepages"};
}

}  // namespace linimo
