#include "controlplane/tables/handlers.h"

#include <algorithm>
#include <utility>

namespace linimo {
namespace {

constexpr char kName[] = ":nodes";     // no pool of a configuration is named so
constexpr uint32_t kTableSize = 4099;  // prime; over a hundred slots for each of 32 nodes

}  // namespace

std::vector<BackendKey> other_nodes(const Handlers& handlers) {
  std::vector<BackendKey> keys;
  for (const std::vector<Address>* nodes : {&handlers.others, &handlers.idle}) {
    for (const Address& node : *nodes) keys.push_back({kName, node});
  }
  return keys;
}

Handlers make_handlers(Handlers nodes) {
  std::sort(nodes.others.begin(), nodes.others.end());
  std::sort(nodes.idle.begin(), nodes.idle.end());
  std::vector<BackendSpec> members;
  for (const Address& node : nodes.others) members.push_back({.address = node});
  nodes.table = has_others(nodes) ? make_handler_table(members, nodes.self, kTableSize) : nullptr;
  return nodes;
}

Handlers handlers_in(const SnapshotView& live, const Address& self) {
  const linimo_pool* pool = live.node_pool();
  if (pool == nullptr) return {};
  Handlers handlers{.others = {}, .self = {}, .move = live.header().handlers_move != 0};
  for (const linimo_backend& node : live.backends(*pool))
    (takes_slots(node.state, node.weight) ? handlers.others : handlers.idle)
        .push_back(Address::from_abi(node.address));
  const auto slots = live.slots(*pool);
  if (std::ranges::find(slots, LINIMO_NO_BACKEND) != slots.end()) handlers.self = self;
  return make_handlers(std::move(handlers));
}

PoolSpec node_pool(const Handlers& handlers, const Ids& ids) {
  PoolSpec pool{.name = kName, .encapsulation = LINIMO_ENCAP_GRE, .backends = {}, .table = handlers.table};
  for (const BackendKey& node : other_nodes(handlers)) {
    const bool handles = pool.backends.size() < handlers.others.size();
    pool.backends.push_back({.address = node.address,
                             .id = ids.backend(node),
                             .state = handles ? LINIMO_BACKEND_UP : LINIMO_BACKEND_DRAINING});
  }
  return pool;
}

}  // namespace linimo
