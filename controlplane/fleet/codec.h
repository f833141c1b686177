// Records as bytes: what stands in a fleet's store, as JSON that people can read with etcdctl.
//
//   store.put(prefix + text(key), encode(value));
//   const std::optional<Key> key = key_of(name);        // what stands behind the fleet's prefix
//   const tl::expected<Value, std::string> value = decode(key->kind, bytes);
//
// What comes back may be hostile, cut short or of another version: it is refused with a reason, and never by
// more than its size. Members that are not known are passed over, so that later versions may add some. 64-bit
// digests are written in hexadecimal, since many readers of JSON have no such numbers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "controlplane/fleet/events.h"
#include "controlplane/fleet/records.h"
#include "controlplane/fleet/state.h"

namespace linimo::fleet {

inline constexpr size_t kMostValueBytes = 1 << 20;
inline constexpr size_t kMostMemoryBytes = 4 << 20;

/// Nothing of a key that this version does not know.
std::optional<Key> key_of(std::string_view name);

std::string encode(const Value& value);
tl::expected<Value, std::string> decode(KeyKind kind, std::string_view bytes);

std::string encode(const Heartbeat& heartbeat);
tl::expected<Heartbeat, std::string> decode_heartbeat(std::string_view bytes);

/// What a node remembers over restarts, without the summary, which follows from its revision's documents.
struct Remembered {
  uint64_t instance = 0;  // of the latest process
  Memory memory;
  TableId live;  // what the data plane was seen to forward by last, and how to know it again
  uint64_t live_generation = 0;
  uint64_t live_digest = 0;
};
std::string encode(const Remembered& remembered);
tl::expected<Remembered, std::string> decode_remembered(std::string_view bytes);

}  // namespace linimo::fleet
