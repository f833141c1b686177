// The socket by which network devices are asked and set (netdevice(7)). It is opened once and kept, so that a
// process without descriptors left does not take a device that it cannot ask about for one that has gone.
#pragma once

#include <cstdint>
#include <string>

namespace linimo {

/// Of the network namespace that the process was in when it first asked; -1: none could be had. Any thread.
int device_socket();

/// 0: there is no such device. Any thread.
uint32_t device_index(const std::string& name);

}  // namespace linimo
