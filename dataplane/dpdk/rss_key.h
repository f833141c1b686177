// The key by which NICs that DPDK drives spread flows over their queues, and so over workers (receive-side
// scaling).
//
// Whoever knows it can choose flows that all come to one worker and leave the others idle; so no two nodes
// have the same, and none has its driver's. After a restart it must be the same: by another, flows come to
// workers whose tables do not have them (dataplane/flow/kept_flows.h). So it is made once, and lies in the
// runtime folder, which ends when those tables do, with a reboot; or it is what `rss_key_file` names.
//
// Control thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "maglev/config/node.h"

namespace linimo::dpdk {

/// Out of hexadecimal digits, with colons or without. The error says what a key is.
tl::expected<std::vector<uint8_t>, std::string> parse_rss_key(std::string_view text);

/// The node's; the error names the file. One of its own that cannot be kept serves nevertheless.
tl::expected<std::vector<uint8_t>, std::string> rss_key(const NodeConfig& config);

/// As long as a device wants it: cut short, or over and over again.
std::vector<uint8_t> of_length(std::span<const uint8_t> key, size_t bytes);

}  // namespace linimo::dpdk
