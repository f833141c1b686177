#include "controlplane/fleet/alarms.h"

namespace linimo::fleet {

const char* alarm_name(AlarmKind kind) {
  constexpr const char* kNames[] = {
      "store-out-of-reach", "store-went-back", "store-unreadable", "node-replaced",   "revision-refused",
      "revision-not-held",  "table-refused",   "contradiction",    "digest-mismatch", "tunnel-shared"};
  static_assert(sizeof kNames / sizeof *kNames == kAlarmKinds);
  return kNames[static_cast<size_t>(kind)];
}

}  // namespace linimo::fleet
