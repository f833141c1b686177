// A capture's question, and each packet of its answer, with names instead of ids.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>
#include <tl/expected.hpp>

#include "controlplane/trace/id_names.h"
#include "maglev/protocol.h"

namespace linimo {

/// filter=HEX&snap=N&rate=N: of each step of the filter 16 digits, code (4), if_true (2), if_false (2), k
/// (8).
tl::expected<protocol::Capture, std::string> capture_query(std::string_view query);

/// {"time_ns", "packet", "outcome", "meaning", "service", "backend", "encapsulation", "fragmented",
/// "comment", "in": {"interface", "length", "bytes"}, "out": the same or null}.
/// `interfaces`: by port; `names` has what the packet names.
nlohmann::json captured_view(const linimo_captured& captured, std::span<const std::string> interfaces,
                             const IdNames& names);

}  // namespace linimo
