// Wrong: a leader writes whether or not it has been succeeded. (That the store was restored it does notice.)
#include "controlplane/fleet/fence.h"

namespace linimo::fleet {

std::vector<Compare> fence_of(const View& view) {
  return {{Key{KeyKind::kEpoch}, Compare::What::kChanged, view.epoch.changed}};
}

}  // namespace linimo::fleet
