#include "controlplane/fleet/fence.h"

namespace linimo::fleet {

std::vector<Compare> fence_of(const View& view) {
  return {Compare{Key{KeyKind::kLeader}, Compare::What::kCreated, view.leader.created},
          Compare{Key{KeyKind::kEpoch}, Compare::What::kChanged, view.epoch.changed}};
}

}  // namespace linimo::fleet
