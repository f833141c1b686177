// Devices of the kernel's that stand on others or are made of them: VLANs, bridges, bonds. DPDK takes whole
// NICs, and the kernel gets nothing of what it takes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "maglev/os/netlink.h"

namespace linimo::dpdk {

/// The kernel's devices that live on this one's frames, and would get none while DPDK has it: VLANs and the
/// like that stand on it, a bridge or bond that it belongs to. By name, with the kind.
std::vector<std::string> devices_that_need(Netlink& netlink, int index);

/// Why DPDK does not take a device of this kind (ip-link(8); "" is a NIC's), and what to do; empty: it does.
/// `parts`: by name, what it is made of or stands on.
std::string refusal_of_kind(const std::string& name, std::string_view kind,
                            const std::vector<std::string>& parts);

/// The same of a device as it is.
std::string refusal_of_device(Netlink& netlink, int index);

}  // namespace linimo::dpdk
