// Wrong: whoever contradicts withdraws, even where nobody is left.
#include "controlplane/fleet/last_announcer.h"

namespace linimo::fleet {

bool others_announce(const View&, const std::vector<std::string>&, const std::string&, const std::string&) {
  return true;
}

}  // namespace linimo::fleet
