// Wrong: a leader writes whether or not it has been succeeded.
#include "controlplane/fleet/fence.h"

namespace linimo::fleet {

std::vector<Compare> fence_of(const View&) {
  return {};
}

}  // namespace linimo::fleet
