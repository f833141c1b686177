// What the two processes say to each other over the data plane's Unix socket (SOCK_SEQPACKET, so a message is
// one packet; integers in host byte order).
//
//   control plane                               data plane
//   Hello {ABI versions accepted}         →
//                                         ←     Welcome {what is live} + fds: counters [, live snapshot]
//                                               or Refused {reason}, and the connection is closed
//   Publish {generation} + fd: snapshot   →
//                                         ←     Accepted {generation}: every worker has switched
//                                               or Refused {generation, reason}: nothing has changed
//
// and between two sides that both have the feature kReports, whenever there is something to say:
//
//                                         ←     Condition {name, subject, state}: all first, then changes
//                                         ←     NextHops {states}: all that are known first, then changes
//   Heartbeat                             ↔     Heartbeat: I go round; from the data plane also: all is told
//
// and to a data plane that has the feature kTraces, as often as somebody asks:
//
//   Trace {number, a frame}               →
//                                         ←     Traced {number, what would become of it}: nothing has changed
//
// and to one that has the feature kFlows:
//
//   FindFlows {number, which, from where} →
//                                         ←     FoundFlows {number, a part of them, where to go on}
//
// and to one that has the feature kCaptures:
//
//   Capture {number, a filter} + fd       →
//                                         ←     Capturing {number, by which interfaces}
//
// after which what the filter wants comes over that descriptor, a socket of type SOCK_SEQPACKET, as messages
// Captured (maglev/rules/capture.h), until its other end is closed, or a Capturing says why it has ended.
//
// and to a control plane that has the feature kHandOvers, before the connection ends:
//
//                                         ←     HandOver {time}: another process takes over, within that
//
// Whoever says this instead of a Hello wants the data plane to hand over to a new process
// (dataplane/handover); the answer may come from a process that has let go of all else:
//
//   Upgrade                               →
//                                         ←     Upgraded {how it went}
//
// and between two sides that both have the feature kSharing, for the other nodes of a fleet and from them:
//
//                                         ↔     FlowWords {where flows go that others would get wrong}
//
// The descriptor of a snapshot is a memfd sealed against growing, shrinking and writing. The counters'
// descriptor is the shared memory of counters.h, to be mapped read-only.
//
// Either side may be hostile or newer: a message is decoded by `decode` alone, which checks its length and
// terminates its strings, and nothing else is trusted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "maglev/abi.h"
#include "maglev/rules/capture.h"
#include "maglev/trace.h"

namespace linimo::protocol {

enum class Type : uint32_t {
  kHello = 1,
  kWelcome,
  kPublish,
  kAccepted,
  kRefused,
  kHeartbeat,
  kCondition,
  kNextHops,
  kTrace,
  kTraced,
  kFindFlows,
  kFoundFlows,
  kCapture,
  kCapturing,
  kCaptured,
  kHandOver,
  kUpgrade,
  kUpgraded,
  kFlowWords
};

/// A bit of `features`: the sender speaks, and understands, Heartbeat, Condition and NextHops.
inline constexpr uint32_t kReports = 1;
/// A bit of a data plane's `features`: it answers Trace.
inline constexpr uint32_t kTraces = 2;
/// A bit of a data plane's `features`: it answers FindFlows.
inline constexpr uint32_t kFlows = 4;
/// A bit of a data plane's `features`: it captures.
inline constexpr uint32_t kCaptures = 8;
/// A bit of a control plane's `features`: it understands HandOver.
inline constexpr uint32_t kHandOvers = 16;
/// A bit of `features`: the sender speaks, and understands, FlowWords.
inline constexpr uint32_t kSharing = 32;

struct Hello {
  static constexpr Type kType = Type::kHello;
  Type type = kType;
  uint32_t abi_oldest = LINIMO_ABI_VERSION;
  uint32_t abi_newest = LINIMO_ABI_VERSION;
  uint32_t features = 0;
};

struct Welcome {
  static constexpr Type kType = Type::kWelcome;
  Type type = kType;
  uint32_t abi = 0;         // the newest that both accept
  uint64_t generation = 0;  // live now; 0: none, and no snapshot descriptor comes with this message
  uint32_t pid = 0;
  uint32_t workers = 0;
  uint32_t restored = 0;  // 1: the live generation was read from the runtime folder, no controller sent it
  uint32_t features = 0;
  uint32_t live_s = 0;  // for how long that has been live, or less
  uint32_t reserved = 0;
  char engine[16] = {};
  char engine_reason[160] = {};  // why this engine, one line
};

struct Publish {
  static constexpr Type kType = Type::kPublish;
  Type type = kType;
  uint32_t reserved = 0;
  uint64_t generation = 0;
};

struct Accepted {
  static constexpr Type kType = Type::kAccepted;
  Type type = kType;
  uint32_t reserved = 0;
  uint64_t generation = 0;
};

struct Refused {
  static constexpr Type kType = Type::kRefused;
  Type type = kType;
  uint32_t reserved = 0;
  uint64_t generation = 0;  // 0: not a snapshot but the connection was refused
  char reason[240] = {};
};

/// Each side sends one every `kHeartbeatPeriod`, the data plane also while it waits for workers to switch;
/// while it reads what was published it does not.
struct Heartbeat {
  static constexpr Type kType = Type::kHeartbeat;
  Type type = kType;
  uint32_t reserved = 0;
  uint64_t sequence = 0;
};
inline constexpr std::chrono::milliseconds kHeartbeatPeriod{250};

/// A watched condition (maglev/condition.h).
struct Condition {
  static constexpr Type kType = Type::kCondition;
  Type type = kType;
  uint8_t state = 0;    // ConditionState
  uint8_t watched = 1;  // 0: it is no longer watched
  uint8_t reserved[2] = {};
  char name[32] = {};
  char subject[64] = {};  // an interface as it is configured, a worker; empty: the node
  char device[16] = {};   // of an interface: the kernel device for routes that announce VIPs by it
  char evidence[192] = {};
  char mend[192] = {};
};

/// How the ways to a range of backends stand: 0: not known, else 1 + linimo_next_hop_state.
struct NextHops {
  static constexpr Type kType = Type::kNextHops;
  static constexpr uint32_t kRange = 480;
  Type type = kType;
  uint32_t first_id = 0;  // a multiple of kRange
  uint32_t reserved[2] = {};
  uint8_t states[kRange] = {};
};

inline constexpr size_t kMaxTracedFrame = 9728;

/// What would become of a frame that came in by an interface?
struct Trace {
  static constexpr Type kType = Type::kTrace;
  Type type = kType;
  uint32_t number = 0;    // comes back with the answer
  uint16_t length = 0;    // of the frame
  uint8_t addressed = 0;  // 1: put the interface's MAC address in as the destination
  uint8_t reserved = 0;
  char interface[64] = {};  // as it is configured; empty: the first
  uint8_t frame[kMaxTracedFrame] = {};
};

struct Traced {
  static constexpr Type kType = Type::kTraced;
  Type type = kType;
  uint32_t number = 0;
  linimo_trace told{};
  char error[240] = {};     // why there is no answer; else empty
  char interface[64] = {};  // by which it would have come
  char leaves_by[64] = {};  // an interface, as it is configured; empty: it does not
  char device[16] = {};     // the kernel's, of the route to the backend
  linimo_addr gateway{};    // of that route, or the backend itself; all zero: there is none
  uint8_t mac[6] = {};      // of `interface`
  uint16_t length = 0;      // of the frame that would leave: the first, if it leaves in pieces
  uint8_t frame[kMaxTracedFrame] = {};
};

inline constexpr uint32_t kEvery = ~uint32_t{0};
inline constexpr uint32_t kMostFoundFlows = 128;

/// Which flows do the connection tables have? What is not said excludes none. An entry has no addresses, so
/// those of a client are found by trying its ports against the VIPs. Each answer takes a bounded part of the
/// tables, or of what is tried; flows that come and go meanwhile may be in no part.
struct FindFlows {
  static constexpr Type kType = Type::kFindFlows;
  Type type = kType;
  uint32_t number = 0;              // comes back with the answer
  uint64_t cursor = 0;              // 0: from the beginning; else that of the answer before
  uint32_t service = kEvery;        // id
  uint32_t backend = kEvery;        // id
  uint32_t most = kMostFoundFlows;  // to be told; 0: they are only counted
  uint8_t clears = 0;               // 1: they are removed, not told
  uint8_t by_client = 0;            // 1: of the clients that `client` and `client_bits` say
  uint8_t by_flow = 0;              // 1: of these alone the one with these ports, to this VIP
  uint8_t protocol = 0;             // of it
  linimo_addr client{};
  linimo_addr vip{};
  uint32_t client_bits = 128;  // leading ones that count, of the 128-bit form
  uint16_t client_port = 0;    // host byte order
  uint16_t vip_port = 0;
};

struct FoundFlow {
  uint64_t word = 0;     // of maglev/rules/flow_entry.h
  linimo_addr client{};  // zero: not known, nor are VIP and ports
  linimo_addr vip{};     // zero: the service tells its flows by their client alone
  uint16_t client_port = 0;
  uint16_t vip_port = 0;
  uint32_t row = 0;     // of the worker or receive queue whose table has it
  uint32_t idle_s = 0;  // since its last packet
  uint32_t left_s = 0;  // until it is forgotten, if none comes
};

struct FoundFlows {
  static constexpr Type kType = Type::kFoundFlows;
  Type type = kType;
  uint32_t number = 0;
  uint64_t cursor = 0;   // to go on from; 0: that was all
  uint64_t matched = 0;  // in this part
  uint64_t rivals = 0;   // entries that look-ups met of others: each was taken for the client's by 1 in 2^20
  uint32_t cleared = 0;
  uint32_t count = 0;    // of `flows`
  char error[240] = {};  // why there is no answer; else empty
  FoundFlow flows[kMostFoundFlows] = {};
};

/// A step of classic BPF, what tcpdump's filters are compiled to.
struct FilterStep {
  uint16_t code = 0;
  uint8_t if_true = 0;  // steps to leave out
  uint8_t if_false = 0;
  uint32_t k = 0;
};
inline constexpr uint32_t kMostFilterSteps = 256;
inline constexpr size_t kMostInterfaces = 32;

/// Copies of packets. One capture at a time.
struct Capture {
  static constexpr Type kType = Type::kCapture;
  Type type = kType;
  uint32_t number = 0;  // comes back with the answer
  uint32_t snap = 0;    // bytes to keep of each frame, 1 to LINIMO_CAPTURE_SNAP
  uint32_t rate = 0;    // packets a second of each worker or CPU, 10 to LINIMO_CAPTURE_RATE
  uint32_t steps = 0;   // of the filter: of the frame as it came, from its Ethernet header on
  uint32_t reserved = 0;
  FilterStep filter[kMostFilterSteps] = {};
};

struct Capturing {
  static constexpr Type kType = Type::kCapturing;
  Type type = kType;
  uint32_t number = 0;
  char error[240] = {};                       // why it captures nothing, or no longer; else empty
  char interfaces[kMostInterfaces][64] = {};  // as they are configured: what a port is
};

/// Until then no news of the data plane is no bad news.
struct HandOver {
  static constexpr Type kType = Type::kHandOver;
  Type type = kType;
  uint32_t limit_ms = 0;
};

struct Upgrade {
  static constexpr Type kType = Type::kUpgrade;
  Type type = kType;
  uint32_t reserved = 0;
};

struct Upgraded {
  static constexpr Type kType = Type::kUpgraded;
  Type type = kType;
  uint32_t pid = 0;      // of the process that forwards now; 0: there was no hand-over
  uint64_t took_us = 0;  // in all
  uint64_t away_us = 0;  // from when the old process let go until the new one forwarded
  char engine[16] = {};
  char error[240] = {};  // why there was none; else empty
};

inline constexpr size_t kCapturedHead = offsetof(linimo_captured, bytes);

static_assert(sizeof(FilterStep) == 8 && sizeof(Capture) == 24 + 8 * kMostFilterSteps);
static_assert(kCapturedHead == 56);

/// From a data plane: what its packets make it tell other nodes (maglev/rules/sharing.h). To it: what another
/// node has told. Ids are those of the live snapshot.
struct FlowWords {
  static constexpr Type kType = Type::kFlowWords;
  static constexpr uint32_t kMost = 128;
  Type type = kType;
  uint32_t count = 0;
  linimo_flow_word words[kMost] = {};

  /// No more than there are, whatever the sender said.
  std::span<const linimo_flow_word> view() const { return {words, count < kMost ? count : kMost}; }
};

static_assert(sizeof(FindFlows) == 72 && sizeof(FoundFlow) == 56 && sizeof(FoundFlows) % 8 == 0);
static_assert(sizeof(Trace) == 76 + kMaxTracedFrame && sizeof(Traced) % 8 == 0);
static_assert(sizeof(Heartbeat) == 16 && sizeof(Condition) == 504 && sizeof(NextHops) == 496);
static_assert(sizeof(HandOver) == 8 && sizeof(Upgrade) == 8 && sizeof(Upgraded) == 280);
static_assert(sizeof(Hello) == 16 && sizeof(Publish) == 16 && sizeof(Accepted) == 16);
static_assert(sizeof(Welcome) == 216 && sizeof(Refused) == 256);

inline constexpr size_t kMaxMessageSize = sizeof(Traced);
static_assert(sizeof(FoundFlows) <= kMaxMessageSize && sizeof(linimo_captured) <= kMaxMessageSize);

inline void set_text(std::span<char> field, std::string_view text) {
  const size_t length = text.size() < field.size() ? text.size() : field.size() - 1;
  text.copy(field.data(), length);  // of a text without memory, too
  std::memset(field.data() + length, 0, field.size() - length);
}

inline std::string_view text_of(std::span<const char> field) {
  return {field.data(), strnlen(field.data(), field.size())};
}

/// The type that a packet claims; nothing when it is too short to claim one.
inline std::optional<Type> type_of(std::span<const std::byte> packet) {
  uint32_t type = 0;
  if (packet.size() < sizeof type) return std::nullopt;
  std::memcpy(&type, packet.data(), sizeof type);
  return static_cast<Type>(type);
}

/// The message, if the packet is exactly one of that type.
template <typename Message>
std::optional<Message> decode(std::span<const std::byte> packet) {
  if (packet.size() != sizeof(Message) || type_of(packet) != Message::kType) return std::nullopt;
  Message message;
  std::memcpy(&message, packet.data(), sizeof message);
  return message;
}

/// Likewise of a message Captured, whose length is as what it keeps.
inline std::optional<linimo_captured> decode_captured(std::span<const std::byte> packet) {
  if (packet.size() < kCapturedHead || type_of(packet) != Type::kCaptured) return std::nullopt;
  std::optional<linimo_captured> captured(std::in_place);
  std::memcpy(&*captured, packet.data(), kCapturedHead);
  const size_t kept = size_t{captured->in_kept} + captured->out_kept;
  if (captured->in_kept > LINIMO_CAPTURE_SNAP || captured->out_kept > LINIMO_CAPTURE_SNAP ||
      packet.size() != kCapturedHead + kept)
    return std::nullopt;
  std::memcpy(captured->bytes, packet.data() + kCapturedHead, kept);
  return captured;
}

template <typename Message>
std::span<const std::byte> encode(const Message& message) {
  return std::as_bytes(std::span(&message, 1));
}

}  // namespace linimo::protocol
