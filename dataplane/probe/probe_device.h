// The TUN device that checks through the tunnel leave by, and what leads marked packets to it.
#pragma once

#include <string>

#include <tl/expected.hpp>

#include "maglev/os/netlink.h"
#include "maglev/unique_fd.h"

namespace linimo {

/// Packets without link header, one a read; non-blocking. The device and its routes go with the descriptor.
tl::expected<UniqueFd, std::string> create_probe_device();

/// Sets the device up and adds its routes and rules where they are missing, which others may have taken away.
/// What was missing, in words; the error says what could not be had.
tl::expected<std::string, std::string> mend_probe_path(Netlink& netlink);

/// The netlink groups by which one hears of that, and whether a message of theirs may tell of it.
uint32_t probe_path_groups();
bool breaks_probe_path(const nlmsghdr& message);

/// Rules outlive processes: they must be removed.
void remove_probe_rules(Netlink& netlink);

/// The same for one that was killed; not while the device of another data plane is there.
void remove_orphaned_probe_rules();

}  // namespace linimo
