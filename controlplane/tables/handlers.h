// The table of which node of a fleet handles a datagram's fragments (maglev/rules/passing.h), as a pool of
// the snapshot whose backends are the other nodes.
//
//   ids.hold(config, other_nodes(handlers), live, now);
//   spec.pools.push_back(node_pool(handlers, ids));     // the last one; only where has_others(handlers)
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "controlplane/tables/ids.h"
#include "maglev/snapshot.h"

namespace linimo {

struct Handlers {
  std::vector<Address> others;                       // that handle some; sorted
  std::optional<Address> self;                       // nothing: this node handles none
  std::vector<Address> idle = {};                    // that handle none, and may pass some on; sorted
  bool move = false;                                 // linimo_header::handlers_move
  std::shared_ptr<const PoolTable> table = nullptr;  // of those

  bool same_nodes(const Handlers& other) const {
    return others == other.others && self == other.self && idle == other.idle;
  }
};

inline bool has_others(const Handlers& handlers) {
  return !handlers.others.empty() || !handlers.idle.empty();
}

/// By which name each has an id.
std::vector<BackendKey> other_nodes(const Handlers& handlers);

/// Makes the table of some whose nodes are in any order.
Handlers make_handlers(Handlers nodes);

/// Those of a live snapshot of this node.
Handlers handlers_in(const SnapshotView& live, const Address& self);

PoolSpec node_pool(const Handlers& handlers, const Ids& ids);

}  // namespace linimo
