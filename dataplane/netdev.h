// What the kernel knows of a network device.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/forward/next_hop.h"

namespace linimo {

struct NetdevFacts {
  int index = 0;
  Mac mac{};
  uint16_t mtu = 0;
  uint32_t queues = 1;  // for receiving
  std::string driver;   // "veth", "ixgbe", ...
  std::string bus;      // where the device is, such as a PCI address; empty for what is only software
};

tl::expected<NetdevFacts, std::string> netdev_facts(const std::string& name);

}  // namespace linimo
