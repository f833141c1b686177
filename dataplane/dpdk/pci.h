// PCI addresses, and why DPDK has no port at one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace linimo::dpdk {

/// "00:03.0" and "0000:00:03.0" as DPDK calls the device: "0000:00:03.0". Nothing: it is no PCI address.
std::optional<std::string> pci_name(const std::string& text);

/// One line: the cause, and what to do. `hugepages`: has DPDK any? `root`: where /sys and /dev are; another
/// for tests.
std::string pci_problem(const std::string& name, bool hugepages, const std::filesystem::path& root = "/");

}  // namespace linimo::dpdk
