// What two data planes say to each other in a hand-over, over a pair of Unix sockets (SOCK_SEQPACKET, so a
// message is one packet; integers in host byte order).
//
//   new process                    old process
//   Prepared                  →
//                             ←    Part + fd, as many as there are
//                             ←    Yours: it has let go
//   Forwards                  →
//
// Instead of its next message the new one may send Failed, and end. The two may be of different versions: a
// message that is not understood ends the hand-over.
#pragma once

#include <cstdint>

#include "maglev/abi.h"
#include "maglev/protocol.h"

namespace linimo::handover {

/// Raised with each change of these messages, and of what a part means.
inline constexpr uint32_t kVersion = 2;

/// No number of these is one of the control plane's.
inline constexpr auto kFirstType = static_cast<uint32_t>(0x4c480000);
template <uint32_t number>
inline constexpr auto kTypeOf = static_cast<protocol::Type>(kFirstType + number);

struct Prepared {
  static constexpr protocol::Type kType = kTypeOf<1>;
  protocol::Type type = kType;
  uint32_t version = kVersion;
  uint64_t place = 0;                 // digest of the runtime folder and the names of the interfaces
  uint32_t abi = LINIMO_ABI_VERSION;  // a control plane of another could not speak to the new process
  uint32_t reserved = 0;
  char engine[16] = {};

  bool operator==(const Prepared&) const = default;
};

enum class PartKind : uint32_t {
  kLock = 1,     // of the runtime folder
  kProbeDevice,  // the end of linimo-hc
  kGuardian,     // dpdk: the pipe whose end of file tells the guardian that nobody is left
  kGuardianEnd,  // dpdk: a pidfd of the guardian
  kTap,          // dpdk: of an interface; as many as there are, in their order
};

struct Part {
  static constexpr protocol::Type kType = kTypeOf<2>;
  protocol::Type type = kType;
  PartKind kind{};
};

struct Yours {
  static constexpr protocol::Type kType = kTypeOf<3>;
  protocol::Type type = kType;
  uint32_t reserved = 0;
};

struct Forwards {
  static constexpr protocol::Type kType = kTypeOf<4>;
  protocol::Type type = kType;
  uint32_t reserved = 0;
};

struct Failed {
  static constexpr protocol::Type kType = kTypeOf<5>;
  protocol::Type type = kType;
  char reason[240] = {};
};

inline constexpr size_t kMostBytes = sizeof(Failed);

}  // namespace linimo::handover
