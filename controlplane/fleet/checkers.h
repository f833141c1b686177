// Which nodes check which backend: the same answer on every node that knows the same nodes and backends.
//
// Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): each
// backend is checked by the nodes that score highest for it, so a node that comes or goes moves only its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "controlplane/fleet/events.h"

namespace linimo::fleet {

struct Assignment {
  struct Backend {
    std::string name;
    std::vector<uint16_t> checkers;  // indices into nodes
  };
  uint64_t of_nodes = 0;  // View::of_nodes
  // Of which revisions: the one in use, the one that waits.
  std::shared_ptr<const Summary> in_use;
  std::shared_ptr<const Summary> waiting;
  std::vector<std::string> nodes;
  std::vector<Backend> backends;
};

/// `count` nodes for each backend, or all where there are fewer. Both sorted and unique.
Assignment assign(std::vector<std::string> nodes, const std::vector<std::string>& backends, uint32_t count);

}  // namespace linimo::fleet
