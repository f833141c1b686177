// Connection tracking: which backend a flow was sent to, in eight bytes.
//
// A table belongs to one thread, a worker (or the control thread: told_flows.h), which alone writes it and
// alone calls what says nothing of threads here; nothing locks. Words are stored whole, so that any thread
// may call what says so meanwhile. A traced packet (forward/trace.h), on the control thread, asks what is
// const as the owner does: what it sees may be a packet old, or of a flow that has just come in its place.
// A bucket is one cache line of eight entries; an entry is one aligned 64-bit word.
// What it says, and all that is decided by it, is in maglev/rules/flow_entry.h, for both engines; here is the
// memory, and how eight entries are asked at once.
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
#include <utility>
#include <vector>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

#include "dataplane/flow/flow_census.h"
#include "maglev/rules/flow_entry.h"

namespace linimo {

class ConnectionTable {
 public:
  /// Where an entry lies; valid until the next call that may change the table.
  using Entry = uint64_t*;

  struct Service {
    uint32_t id = 0;              // < LINIMO_MAX_SERVICES
    uint32_t idle_timeout_s = 0;  // 1 to LINIMO_MAX_IDLE_TIMEOUT_S
  };

  /// A place for at least `flows` entries at two thirds full. `memory` must be zero (or see take_over),
  /// 64-byte aligned, of `bytes_for(flows)`, and outlive the table.
  ConnectionTable(uint64_t flows, std::span<std::byte> memory);
  static uint64_t bytes_for(uint64_t flows);

  /// Memory that an earlier table has left, whatever it holds: counts the entries, and clears those that
  /// `holds(word)` denies and those of a flow that the bucket has already. Once, before anything else, by
  /// whoever makes the table.
  /// Returns how many it cleared.
  template <typename Holds>
  uint64_t take_over(Holds holds) {
    uint64_t cleared = 0;
    for (uint64_t index = 0; index < buckets_; ++index) {
      for (Entry entry = bucket(index); entry != bucket(index) + LINIMO_FLOW_BUCKET; ++entry) {
        if (*entry == 0) continue;
        const uint64_t word = std::exchange(*entry, 0);
        if (!holds(word) || find_in(index, word) != nullptr) {
          ++cleared;
          continue;
        }
        *entry = word;
        ++entries_;
        if (per_service_[linimo_flow_service(word)]++ == 0) ++services_holding_;
        if (linimo_flow_joins(0, word)) ++connections_[linimo_flow_backend(word)];
      }
    }
    return cleared;
  }

  // Inlined at all events: GCC takes a function that only prefetches for one without effects, and drops calls
  // of it.
  __attribute__((always_inline)) void prefetch(uint64_t hash) const {
    __builtin_prefetch(bucket(places_of(hash, 0).first));
  }
  /// Where a flow may be that the first bucket does not hold.
  __attribute__((always_inline)) void prefetch_second(uint64_t hash) const {
    __builtin_prefetch(bucket(places_of(hash, 0).second));
  }

  /// The live entry of a flow, or nullptr. The owner: others `peek`.
  Entry find(uint64_t hash, const Service& service, uint32_t now_s) const;

  /// The same of one that the first bucket does not hold.
  Entry find_second(uint64_t hash, const Service& service, uint32_t now_s) const {
    const Places at = places_of(hash, service.id);
    const Entry entry = find_in(at.second, at.flow);
    return entry == nullptr || is_expired(*entry, service, now_s) ? nullptr : entry;
  }

  /// The same, if that is quickly found: an entry that a packet followed within this very second, so that
  /// there is nothing to note of another one but a FIN. nullptr: nothing is known.
  Entry find_fresh(uint64_t hash, const Service& service, uint32_t now_s) const {
    const Places at = places_of(hash, service.id);
    const Entry entry = find_in(at.first, at.flow);
    return entry != nullptr && linimo_flow_age(*entry, now_s) == 0 ? entry : nullptr;
  }

  /// The backend of a flow's live entry. Any thread, while the owner goes on writing.
  std::optional<uint32_t> peek(uint64_t hash, const Service& service, uint32_t now_s) const;

  /// The live entry itself, or 0. The same, by a clock that may be a moment behind the owner's.
  uint64_t peek_word(uint64_t hash, const Service& service, uint32_t now_s) const;

  static uint32_t backend_id(Entry entry) { return linimo_flow_backend(*entry); }

  static bool may_have_ended(Entry entry, uint32_t now_s) {
    return linimo_flow_may_have_ended(*entry, now_s, LINIMO_SECONDS) != 0;
  }

  /// Notes that a packet followed the entry. `begins`: a connection, by SYN alone. Writes at most once a
  /// second. The owner, as all that writes.
  void touch(Entry entry, bool fin, bool begins, uint32_t now_s);

  /// The flow goes to backend `to` from now on.
  void redirect(Entry entry, uint32_t to);

  /// Makes an embryonic entry; false: there was no place that the flow may take. The owner.
  bool insert(uint64_t hash, const Service& service, uint32_t backend_id, uint32_t now_s);

  /// Removes the entry in a place, of whatever number, if it is the same flow's to the same backend still.
  /// The owner; others ask it to, by flow_removal.h.
  bool remove(uint64_t index, uint64_t seen);

  /// Would `insert` find one? Any thread, while the owner goes on writing.
  bool has_room(uint64_t hash, const Service& service, uint32_t now_s) const;

  /// Clears expired entries in the next `buckets` buckets, going round, and those of services (by id;
  /// timeouts in seconds) that are gone. The rest are counted, but those that have ended (flow_entry.h).
  void sweep(uint64_t buckets, std::span<const SweptService> services, uint32_t now_s, FlowCensus& census);

  /// Clears the entries that `is_over(word)` says are, in the next `buckets` buckets, going round.
  template <typename IsOver>
  void clear_where(uint64_t buckets, IsOver is_over) {
    for (uint64_t i = 0; i < buckets; ++i) {
      for (Entry word = bucket(sweep_next_); word != bucket(sweep_next_) + LINIMO_FLOW_BUCKET; ++word) {
        if (linimo_flow_state(*word) != LINIMO_FLOW_EMPTY && is_over(*word)) clear(word);
      }
      if (++sweep_next_ == buckets_) sweep_next_ = 0;
    }
  }

  uint64_t entries() const { return entries_; }
  uint64_t entries_of(uint32_t service_id) const { return per_service_[service_id]; }
  /// Entries of a backend but those that a FIN has closed. What has expired counts until its place is needed,
  /// or the sweep comes round.
  uint32_t connections_of(uint32_t backend_id) const { return connections_[backend_id]; }
  uint64_t capacity() const { return buckets_ * LINIMO_FLOW_BUCKET; }
  uint64_t buckets() const { return buckets_; }
  /// Of the first bucket, and then of the others: for FlowTable (flow_tables.h), on any thread.
  const uint64_t* words() const { return words_; }

 private:
  static_assert(LINIMO_MAX_SERVICES <= LINIMO_FLOW_SERVICE_MASK + 1 &&
                LINIMO_MAX_BACKEND_IDS <= LINIMO_FLOW_BACKEND_MASK + 1 && LINIMO_FLOW_SERVICE_SHIFT == 32);

  using Places = linimo_flow_places;

  uint64_t* bucket(uint64_t index) const { return words_ + index * LINIMO_FLOW_BUCKET; }
  Places places_of(uint64_t hash, uint32_t service_id) const {
    return linimo_flow_places_of(hash, service_id, buckets_);
  }
  static bool is_expired(uint64_t word, const Service& service, uint32_t now_s) {
    return linimo_flow_is_expired(word, service.idle_timeout_s, now_s, LINIMO_SECONDS) != 0;
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
  /// linimo_flow_matches, of eight.
  Entry find_in(uint64_t index, uint64_t flow) const {
    const auto wanted = static_cast<uint32_t>(flow >> LINIMO_FLOW_SERVICE_SHIFT);
    uint32_t hits = upper_halves(index).which([&](Four halves) { return halves == wanted; });
    for (; hits != 0; hits &= hits - 1) {
      const Entry entry = bucket(index) + std::countr_zero(hits);
      if (linimo_flow_state(*entry) != LINIMO_FLOW_EMPTY) return entry;
    }
    return nullptr;
  }
  /// Which entries are empty: a bit for each. linimo_flow_state, of eight.
  uint32_t empty_in(uint64_t index) const {
    return lower_halves(index).which(
        [](Four halves) { return (halves & LINIMO_FLOW_STATE_MASK) == uint32_t{LINIMO_FLOW_EMPTY}; });
  }
  /// Which have not been touched for so many seconds, at least 1. linimo_flow_age, of eight.
  uint32_t untouched_in(uint64_t index, uint32_t seconds, uint32_t now_s) const {
    return lower_halves(index).which([&](Four halves) {
      const Four age = (now_s - (halves >> LINIMO_FLOW_STAMP_SHIFT)) & LINIMO_FLOW_STAMP_MASK;
      return age >= seconds;
    });
  }
  /// Where an entry would go, whatever is there now; nullptr: there is no such place.
  Entry place_for(const Places& at, const Service& service, uint32_t now_s) const;
  uint64_t rank_of(uint64_t word, const Service& service, uint32_t now_s) const;
  bool holds_embryonic(const Places& at, uint32_t service_id) const;
  void replace(Entry entry, uint64_t word);
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
