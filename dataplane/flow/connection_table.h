// Connection tracking: which backend a flow was sent to, in eight bytes.
//
// A table belongs to one worker, which alone writes it; nothing here locks. Words are stored whole, so that
// other workers may peek. A bucket is one cache line of
// eight entries; an entry is one aligned 64-bit word:
//
//   63           44 43         32 31            14 13         2 1     0
//   | fingerprint | service id  | backend id      | stamp      | state |
//        20 bits       12 bits       18 bits         12 bits     2 bits
//
// so that what tells a flow is one half of the word.
//
// The fingerprint stands for the 5-tuple: what of the keyed flow hash the choice of the bucket leaves. A flow
// that has no entry is taken for another one's with probability at most 16 * 2^-20 (two full buckets of its
// own service), 1.5e-5; it then goes to a live backend of its own pool, which the caller checks. The seed
// being secret, nobody can aim for that.
//
// A flow has two buckets, and lives in the first unless that was nearly full: lookups end in one cache line
// most of the time, while the choice of two keeps the table storing almost every flow up to two thirds full
// (Azar et al., "Balanced allocations", 1994).
//
// The stamp is the second of the last packet modulo 4096, kept from being ambiguous by `sweep`, which clears
// what has expired and must come round at least every 400 s.
//
// Who may be displaced when both buckets are full: an expired entry; then one of the flow's own service; then
// one of a service that holds more than its share (capacity divided by the services that hold any). Never one
// of a service within its share, and never one touched less than 3 s ago. Embryonic entries go first: those
// of flows that have not sent a second packet at least one second after the first, which is all that a SYN
// flood makes.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include "dataplane/flow/flow_census.h"
#include "maglev/abi.h"

namespace linimo {

class ConnectionTable {
 public:
  /// Where an entry lies; valid until the next call that may change the table.
  using Entry = uint64_t*;

  struct Service {
    uint32_t id = 0;              // < LINIMO_MAX_SERVICES
    uint32_t idle_timeout_s = 0;  // 1 to LINIMO_MAX_IDLE_TIMEOUT_S
  };

  enum class Packet : uint8_t { kOther, kFin, kSyn };

  /// A place for at least `flows` entries at two thirds full. `memory` must be zero, 64-byte aligned, of
  /// `bytes_for(flows)`, and outlive the table.
  ConnectionTable(uint64_t flows, std::span<std::byte> memory);
  static uint64_t bytes_for(uint64_t flows);

  // Inlined at all events: GCC takes a function that only prefetches for one without effects, and drops calls
  // of it.
  __attribute__((always_inline)) void prefetch(uint64_t hash) const {
    __builtin_prefetch(bucket(scaled(hash).bucket));
  }
  /// Where a flow may be that the first bucket does not hold.
  __attribute__((always_inline)) void prefetch_second(uint64_t hash) const {
    __builtin_prefetch(bucket(wanted(hash, 0).second));
  }

  /// The live entry of a flow, or nullptr.
  Entry find(uint64_t hash, const Service& service, uint32_t now_s) const;

  /// The same, if that is quickly found: an entry that a packet followed within this very second, so that
  /// there is nothing to note of another one but a FIN. nullptr: nothing is known.
  Entry find_fresh(uint64_t hash, const Service& service, uint32_t now_s) const {
    const Wanted at = wanted(hash, service.id);
    const Entry entry = find_in(at.first, at.flow);
    return entry != nullptr && age_of(*entry, now_s) == 0 ? entry : nullptr;
  }

  /// The backend of a flow's live entry. Any thread, while the owner goes on writing.
  std::optional<uint32_t> peek(uint64_t hash, const Service& service, uint32_t now_s) const;

  static uint32_t backend_id(Entry entry) {
    return static_cast<uint32_t>(*entry >> kBackendShift) & kBackendMask;
  }

  /// Whether a SYN may be another connection's, from the port of one that has ended: that said FIN, or has
  /// sent nothing for a while. A client does not send a SYN on a connection that lives, so this only keeps a
  /// forged one from moving what is in use. Without the silence a RST would have to be noted, which as well
  /// could be forged.
  static bool may_have_ended(Entry entry, uint32_t now_s) {
    return state_of(*entry) == kClosing || age_of(*entry, now_s) >= kYoung_s;
  }

  /// Notes that a packet followed the entry: a SYN on one that is closing opens it again. Writes at most once
  /// a second.
  void touch(Entry entry, Packet packet, uint32_t now_s);

  /// The flow goes to backend `to` from now on.
  void redirect(Entry entry, uint32_t to);

  /// Makes an embryonic entry; false: there was no place that the flow may take.
  bool insert(uint64_t hash, const Service& service, uint32_t backend_id, uint32_t now_s);

  /// Clears expired entries in the next `buckets` buckets, going round, and those of services (by id;
  /// timeouts in seconds) that are gone. The rest are counted.
  void sweep(uint64_t buckets, std::span<const SweptService> services, uint32_t now_s, FlowCensus& census);

  uint64_t entries() const { return entries_; }
  uint64_t entries_of(uint32_t service_id) const { return per_service_[service_id]; }
  /// Entries of a backend but those that a FIN has closed. What has expired counts until its place is needed,
  /// or the sweep comes round.
  uint32_t connections_of(uint32_t backend_id) const { return connections_[backend_id]; }
  uint64_t capacity() const { return buckets_ * kBucketEntries; }
  uint64_t buckets() const { return buckets_; }

 private:
  static constexpr uint32_t kBucketEntries = 8;
  static constexpr uint32_t kStateBits = 2, kStampBits = 12, kServiceBits = 12, kBackendBits = 18;
  static constexpr uint32_t kStampShift = kStateBits;
  static constexpr uint32_t kBackendShift = kStampShift + kStampBits;
  static constexpr uint32_t kServiceShift = kBackendShift + kBackendBits;
  static constexpr uint32_t kFingerprintShift = kServiceShift + kServiceBits;
  static constexpr uint32_t kFingerprintBits = 64 - kFingerprintShift;
  static constexpr uint64_t kStateMask = 3, kStampMask = (1U << kStampBits) - 1;
  static constexpr uint64_t kServiceMask = (1U << kServiceBits) - 1, kBackendMask = (1U << kBackendBits) - 1;
  static constexpr uint64_t kFlowMask = ~uint64_t{0} << kServiceShift;
  static constexpr uint32_t kYoung_s = 3, kClosing_s = 60;
  static_assert(kFingerprintBits == 20 && kServiceShift == 32 && LINIMO_MAX_SERVICES <= 1U << kServiceBits &&
                LINIMO_MAX_BACKEND_IDS <= 1U << kBackendBits);

  enum State : uint64_t { kEmpty, kEmbryonic, kEstablished, kClosing };

  struct Wanted {
    uint64_t first, second;  // buckets
    uint64_t flow;           // fingerprint and service, in place
  };

  struct Scaled {
    uint64_t bucket;
    uint64_t rest;  // within the bucket's part of all hashes, where this one lies: even, whichever it is
  };
  /// The hash, a fraction of 2^64, times the number of buckets.
  Scaled scaled(uint64_t hash) const {
    __extension__ using Wide = unsigned __int128;
    const Wide product = Wide{hash} * buckets_;
    return {static_cast<uint64_t>(product >> 64), static_cast<uint64_t>(product)};
  }
  uint64_t* bucket(uint64_t index) const { return words_ + index * kBucketEntries; }
  Wanted wanted(uint64_t hash, uint32_t service_id) const {
    const auto [first, rest] = scaled(hash);
    const uint64_t fingerprint = rest >> kFingerprintShift;
    // Fibonacci hashing: the product's upper half depends on the whole fingerprint, its highest bits most.
    const uint64_t spread = fingerprint * 0x9e3779b97f4a7c15 >> 32;
    const uint64_t second = first + 1 + (spread * (buckets_ - 1) >> 32);
    return {first, second < buckets_ ? second : second - buckets_,
            fingerprint << kFingerprintShift | uint64_t{service_id} << kServiceShift};
  }
  static State state_of(uint64_t word) { return static_cast<State>(word & kStateMask); }
  static uint32_t service_of(uint64_t word) {
    return static_cast<uint32_t>(word >> kServiceShift & kServiceMask);
  }
  static uint32_t age_of(uint64_t word, uint32_t now_s) {
    return static_cast<uint32_t>((now_s - (word >> kStampShift)) & kStampMask);
  }
  static bool expired(uint64_t word, uint32_t timeout_s, uint32_t now_s) {
    const uint32_t limit = state_of(word) == kClosing && timeout_s > kClosing_s ? kClosing_s : timeout_s;
    return age_of(word, now_s) > limit;
  }
  struct Free {
    void operator()(uint32_t* counts) const { std::free(counts); }
  };

  using Four = uint32_t __attribute__((vector_size(16), may_alias));
  /// Of a comparison: a bit for each element.
  static uint32_t true_bits(auto compared) {
#ifdef __SSE2__
    return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(compared)));
#else
    const Four bits = reinterpret_cast<Four>(compared) & Four{1, 2, 4, 8};
    return bits[0] | bits[1] | bits[2] | bits[3];
#endif
  }
  /// A half of each of a bucket's eight entries. What is asked of all eight is asked at once, without a
  /// branch: under attack nothing about them is predictable.
  struct Halves {
    Four low, high;

    uint32_t which(auto holds) const { return true_bits(holds(low)) | true_bits(holds(high)) << 4; }
  };
  Halves upper_halves(uint64_t index) const {
    const auto* pairs = reinterpret_cast<const Four*>(bucket(index));
    return {__builtin_shufflevector(pairs[0], pairs[1], 1, 3, 5, 7),
            __builtin_shufflevector(pairs[2], pairs[3], 1, 3, 5, 7)};
  }
  Halves lower_halves(uint64_t index) const {
    const auto* pairs = reinterpret_cast<const Four*>(bucket(index));
    return {__builtin_shufflevector(pairs[0], pairs[1], 0, 2, 4, 6),
            __builtin_shufflevector(pairs[2], pairs[3], 0, 2, 4, 6)};
  }
  Entry find_in(uint64_t index, uint64_t flow) const {
    const auto wanted = static_cast<uint32_t>(flow >> 32);
    uint32_t hits = upper_halves(index).which([&](Four halves) { return halves == wanted; });
    // Empty entries look like those of the flow whose bits are all zero.
    for (; hits != 0; hits &= hits - 1) {
      const Entry entry = bucket(index) + std::countr_zero(hits);
      if (state_of(*entry) != kEmpty) return entry;
    }
    return nullptr;
  }
  /// Which entries are empty: a bit for each.
  uint32_t empty_in(uint64_t index) const {
    return lower_halves(index).which(
        [](Four halves) { return (halves & uint32_t{kStateMask}) == uint32_t{kEmpty}; });
  }
  /// Which have not been touched for so many seconds, at least 1.
  uint32_t untouched_in(uint64_t index, uint32_t seconds, uint32_t now_s) const {
    return lower_halves(index).which([&](Four halves) {
      const Four age = (now_s - (halves >> kStampShift)) & uint32_t{kStampMask};
      return age >= seconds;
    });
  }
  Entry place_for(const Wanted& at, const Service& service, uint32_t now_s);
  uint64_t rank_of(uint64_t word, const Service& service, uint32_t now_s) const;
  bool gives_way_to_a_flood(uint64_t word, const Wanted& at, const Service& service, uint32_t now_s) const;
  void clear(Entry entry);

  uint64_t* words_;
  uint64_t buckets_;
  uint64_t sweep_next_ = 0;
  uint64_t entries_ = 0;
  uint32_t services_holding_ = 0;
  std::vector<uint64_t> per_service_;
  std::unique_ptr<uint32_t[], Free> connections_;  // by backend id; pages of no id in use are never touched
};

}  // namespace linimo
