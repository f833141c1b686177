// What the data plane told of tracked flows, with names instead of ids.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "maglev/protocol.h"
#include "maglev/snapshot.h"

namespace linimo {

/// {"flows": [{"service", "backend", "state", "idle_s", "left_s", "row", "from", "to"}], "memory", "matched",
/// "mistaken", "next"}. `live`: what ids stand for; `memory`: what a row is, worker or queue.
nlohmann::json flows_view(const protocol::FoundFlows& found, const std::optional<SnapshotView>& live,
                          const std::string& memory);

/// {"cleared", "mistaken", "next"}
nlohmann::json cleared_view(const protocol::FoundFlows& found);

}  // namespace linimo
