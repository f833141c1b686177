// What the kernel knows of a network device.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <tl/expected.hpp>

#include "dataplane/forward/next_hop.h"

namespace linimo::dpdk {

struct NetdevFacts {
  int index = 0;
  Mac mac{};
  uint16_t mtu = 0;
  uint32_t queues = 1;  // for receiving
};

tl::expected<NetdevFacts, std::string> netdev_facts(const std::string& name);

}  // namespace linimo::dpdk
