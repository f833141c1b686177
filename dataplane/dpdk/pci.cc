#include "dataplane/dpdk/pci.h"

#include <algorithm>
#include <cerrno>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <rte_pci.h>

#include "maglev/unique_fd.h"

namespace linimo::dpdk {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUserDrivers[] = {"vfio-pci", "uio_pci_generic", "igb_uio"};
constexpr std::string_view kBothDrivers[] = {"mlx4_core", "mlx5_core",
                                             "mana"};  // DPDK works beside the kernel

std::string target_of(const fs::path& link) {
  std::error_code error;
  return fs::read_symlink(link, error).filename();
}

template <size_t N>
bool is_one_of(const std::string& driver, const std::string_view (&drivers)[N]) {
  return std::find(std::begin(drivers), std::end(drivers), driver) != std::end(drivers);
}

}  // namespace

std::optional<std::string> pci_name(const std::string& text) {
  rte_pci_addr address;
  if (rte_pci_addr_parse(text.c_str(), &address) != 0) return std::nullopt;
  char name[PCI_PRI_STR_SIZE + 1];
  rte_pci_device_name(&address, name, sizeof name);
  return name;
}

std::string pci_problem(const std::string& name, bool hugepages, const fs::path& root) {
  const fs::path device = root / "sys/bus/pci/devices" / name;
  const std::string bind = fmt::format("`dpdk-devbind.py --bind=vfio-pci {}`", name);
  std::error_code error;
  if (!fs::exists(device, error)) return fmt::format("there is no PCI device {}; `lspci` lists them", name);
  std::string class_code;
  std::ifstream(device / "class") >> class_code;
  if (!class_code.starts_with("0x02"))
    return fmt::format("{} is no NIC (PCI class {}); `lspci` lists what each device is", name, class_code);
  const std::string driver = target_of(device / "driver");
  if (driver.empty()) return fmt::format("no driver is bound to {}; {}", name, bind);
  if (!is_one_of(driver, kUserDrivers) && !is_one_of(driver, kBothDrivers))
    return fmt::format("the kernel's driver {} has {}; {}, or configure its netdev's name", driver, name,
                       bind);
  if (driver == "vfio-pci") {
    const std::string group = target_of(device / "iommu_group");
    if (group.empty())
      return fmt::format(
          "{} is in no IOMMU group: the kernel needs intel_iommu=on or amd_iommu=on, or bind it "
          "to uio_pci_generic",
          name);
    const fs::path file = root / "dev/vfio" / group;
    if (!fs::exists(file, error))
      return fmt::format(
          "{} is missing: is the module vfio-pci loaded, and is this process allowed to see it?",
          file.string());
    if (const UniqueFd fd(open(file.c_str(), O_RDWR | O_CLOEXEC)); !fd && errno == EBUSY)
      return fmt::format("another process has {} (`fuser {}` shows which)", name, file.string());
  } else if (!hugepages && is_one_of(driver, kUserDrivers)) {
    return fmt::format(
        "{} is bound to {}, without an IOMMU: so it takes physical addresses, which only hugepages have; "
        "`sysctl vm.nr_hugepages=512`, or {} behind an IOMMU",
        name, driver, bind);
  }
  return fmt::format(
      "DPDK does not drive {}, though {} is bound to it: is it a NIC that DPDK knows, and are its "
      "driver's libraries installed (librte-net-*)?",
      name, driver);
}

}  // namespace linimo::dpdk
