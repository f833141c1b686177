#include "controlplane/fleet/records.h"

#include <algorithm>
#include <tuple>

#include <fmt/format.h>

namespace linimo::fleet {

std::string text(const Key& key) {
  switch (key.kind) {
    case KeyKind::kEpoch:
      return "epoch";
    case KeyKind::kRevision:
      return "revision";
    case KeyKind::kActive:
      return "active";
    case KeyKind::kState:
      return "state";
    case KeyKind::kLeader:
      return "leader";
    case KeyKind::kNode:
      return "nodes/" + key.name;
    case KeyKind::kObservations:
      return "observations/" + key.name;
    case KeyKind::kReady:
      return fmt::format("ready/{:020}/{}", key.number, key.name);
    case KeyKind::kDrainBackend:
      return "drains/backend/" + key.name;
    case KeyKind::kDrainNode:
      return "drains/node/" + key.name;
  }
  return {};
}

bool same_but_for_eighths(const BackendStates& one, const BackendStates& other) {
  return std::ranges::equal(one, other, [](const BackendState& a, const BackendState& b) {
    return std::tie(a.name, a.health, a.drains, a.leaves) == std::tie(b.name, b.health, b.drains, b.leaves);
  });
}

}  // namespace linimo::fleet
