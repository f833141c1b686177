// Wrong: whoever has no word from the store stays, whatever he sees.
#include "controlplane/fleet/stand_in.h"

namespace linimo::fleet {

bool stands_in(const State&) {
  return false;
}

bool is_stood_in_for(const State&, const std::string&) {
  return false;
}

}  // namespace linimo::fleet
