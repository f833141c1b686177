// Each cause for which DPDK has no port at a PCI address has a line of its own.

#include "dataplane/dpdk/pci.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/temporary_folder.h"

namespace linimo::dpdk {
namespace {

using testing::HasSubstr;

constexpr const char* kName = "0000:00:03.0";

TEST(Pci, AddressesWithAndWithoutDomainAreTheSame) {
  EXPECT_EQ(pci_name("00:03.0"), kName);
  EXPECT_EQ(pci_name(kName), kName);
  EXPECT_EQ(pci_name("eth0"), std::nullopt);
  EXPECT_EQ(pci_name("net_null0"), std::nullopt);
}

class PciProblem : public testing::Test {
 protected:
  std::filesystem::path root() const { return folder.path(); }
  std::filesystem::path device() const { return root() / "sys/bus/pci/devices" / kName; }

  void add_device(const char* class_code) {
    std::filesystem::create_directories(device());
    std::ofstream(device() / "class") << class_code << "\n";
  }
  void link(const char* name, const char* target) {
    std::filesystem::create_symlink(std::filesystem::path("../../x") / target, device() / name);
  }

  TemporaryFolder folder;
};

TEST_F(PciProblem, NoDevice) {
  EXPECT_THAT(pci_problem(kName, true, root()), HasSubstr("there is no PCI device 0000:00:03.0"));
}

TEST_F(PciProblem, NoNic) {
  add_device("0x010802");
  EXPECT_THAT(pci_problem(kName, true, root()), HasSubstr("is no NIC (PCI class 0x010802)"));
}

TEST_F(PciProblem, NoDriver) {
  add_device("0x020000");
  EXPECT_THAT(pci_problem(kName, true, root()),
              HasSubstr("no driver is bound to 0000:00:03.0; `dpdk-devbind.py"));
}

TEST_F(PciProblem, TheKernelsDriver) {
  add_device("0x020000");
  link("driver", "e1000e");
  EXPECT_THAT(pci_problem(kName, true, root()), HasSubstr("the kernel's driver e1000e has"));
}

TEST_F(PciProblem, NoIommu) {
  add_device("0x020000");
  link("driver", "vfio-pci");
  EXPECT_THAT(pci_problem(kName, true, root()), HasSubstr("is in no IOMMU group"));
}

TEST_F(PciProblem, NoGroupFile) {
  add_device("0x020000");
  link("driver", "vfio-pci");
  link("iommu_group", "7");
  EXPECT_THAT(pci_problem(kName, true, root()), HasSubstr("dev/vfio/7 is missing"));
}

TEST_F(PciProblem, NoHugepagesWithoutAnIommu) {
  add_device("0x020000");
  link("driver", "uio_pci_generic");
  EXPECT_THAT(pci_problem(kName, false, root()), HasSubstr("takes physical addresses"));
}

TEST_F(PciProblem, WhatIsBoundRightlyIsNotKnownToDpdk) {
  add_device("0x020000");
  link("driver", "uio_pci_generic");
  EXPECT_THAT(pci_problem(kName, true, root()), HasSubstr("DPDK does not drive"));
}

}  // namespace
}  // namespace linimo::dpdk
