// The flow hash: XXH3-64 with the snapshot's seed over the canonical key of abi.h.
//
// It is the same on every node and in both engines, so that whichever node ECMP picks sends a flow to the
// same backend. One 64-bit value serves every use (maglev/rules/flow_hash.h).
#pragma once

#include <cstdint>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "maglev/abi.h"
#include "maglev/rules/flow_hash.h"

namespace linimo {

inline uint64_t flow_hash(const linimo_key4& key, uint64_t seed) {
  return XXH3_64bits_withSeed(&key, sizeof key, seed);
}

inline uint64_t flow_hash(const linimo_key6& key, uint64_t seed) {
  return XXH3_64bits_withSeed(&key, sizeof key, seed);
}

/// The same over a linimo_key4 that lies in registers: source and destination as they follow one another in
/// memory; source port, destination port and protocol likewise.
inline uint64_t flow_hash4(uint64_t addresses, uint64_t rest, uint64_t seed) {
  const uint64_t key[] = {addresses, rest};
  return XXH3_64bits_withSeed(key, sizeof key, seed);
}

/// Of a linimo_key6, whose addresses are four words.
inline uint64_t flow_hash6(const uint64_t (&addresses)[4], uint64_t rest, uint64_t seed) {
  const uint64_t key[] = {addresses[0], addresses[1], addresses[2], addresses[3], rest};
  return XXH3_64bits_withSeed(key, sizeof key, seed);
}

/// XXH3 with a seed mixes its input with words of the secret, changed by the seed: words that do not vary,
/// for who computes it by other means (bpf/hash.h, dataplane/forward/lane_path.cc).
struct FlowHashWords {
  uint64_t key4[2];
  uint64_t key6[8];
};
inline FlowHashWords flow_hash_words(uint64_t seed) {
  const auto secret = [](size_t word) { return XXH_readLE64(XXH3_kSecret + 8 * word); };
  FlowHashWords words;
  words.key4[0] = (secret(3) ^ secret(4)) + seed;
  words.key4[1] = (secret(5) ^ secret(6)) - seed;
  for (size_t i = 0; i < 8; ++i) words.key6[i] = i % 2 == 0 ? secret(i) + seed : secret(i) - seed;
  return words;
}

/// Slot in [0, table_size) for a flow hash.
inline uint32_t slot_of(uint64_t hash, uint32_t table_size) {
  return linimo_slot_of(hash, table_size);
}

}  // namespace linimo
