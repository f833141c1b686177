#include "controlplane/fleet/majority.h"

namespace linimo::fleet {

bool is_majority(size_t agree, size_t may_speak) {
  return 2 * agree > may_speak;
}

}  // namespace linimo::fleet
