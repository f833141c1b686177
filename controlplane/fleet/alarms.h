// What an operator must know of the fleet as this node sees it; each begins and ends.
#pragma once

#include <cstddef>
#include <cstdint>

namespace linimo::fleet {

enum class AlarmKind : uint8_t {
  kStoreOutOfReach,  // the last revision and state stay in force
  kStoreWentBack,    // emptied, or restored from a backup: nothing in it is followed
  kStoreUnreadable,  // keys that this version does not understand
  kReplaced,         // another process runs as this node
  kRevisionRefused,  // a revision will not come into force, and why
  kRevisionNotHeld,  // the fleet's revision is not valid here
  kTableRefused,     // by this node's data plane
  kContradiction,    // this node sees other backends up than the fleet does
  kDigestMismatch,   // two nodes made different tables of the same
  kTunnelShared,     // another node has this one's encap_source
  kCount
};
inline constexpr size_t kAlarmKinds = static_cast<size_t>(AlarmKind::kCount);

const char* alarm_name(AlarmKind kind);

}  // namespace linimo::fleet
