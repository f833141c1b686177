// Which backend the first fragment of a datagram was sent to, for two seconds (RFC 791, RFC 8200 4.5: the
// fragments of a datagram share source, destination, protocol and identification).
//
// Built as the connection table is: buckets of one cache line, an entry one aligned 64-bit word, which only
// the worker that the table belongs to writes. Others may read it at any time, since NICs spread fragments
// without ports over other queues than their first.
//
//   63           43 42            25 24         13 12         1  0
//   | fingerprint | backend id      | service id  | stamp      | used |
//        21 bits       18 bits          12 bits      12 bits     1 bit
//
// The stamp is the millisecond modulo 4096, kept from being ambiguous by `sweep`. The fingerprint is of the
// keyed hash of the datagram: one that has no entry is taken for another with probability at most
// 8 * 2^-21, and then goes to a wrong backend, which drops it for want of the other fragments. A full bucket
// loses its oldest entry: a flood of datagrams ends others' lives early, and costs nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "maglev/abi.h"

namespace linimo {

class FragmentMemory {
 public:
  static constexpr uint64_t kLife_ms = 2000;
  static constexpr uint32_t kEntries = 16384;

  struct Choice {
    uint32_t backend_id;
    uint32_t service_id;

    bool operator==(const Choice&) const = default;
  };

  FragmentMemory();

  /// The owner. `datagram`: its hash. `now_ms`: of a clock that all workers share, give or take a second.
  void remember(uint64_t datagram, const Choice& choice, uint64_t now_ms);

  /// Any thread.
  std::optional<Choice> find(uint64_t datagram, uint64_t now_ms) const;

  /// The owner, at least once a second: clears what has expired.
  void sweep(uint64_t now_ms);

 private:
  static constexpr uint32_t kBucketEntries = 8, kBuckets = kEntries / kBucketEntries;
  static constexpr uint32_t kStampShift = 1, kServiceShift = 13, kBackendShift = 25, kFingerprintShift = 43;
  static constexpr uint64_t kUsed = 1, kStampMask = 0xfff, kServiceMask = 0xfff, kBackendMask = 0x3ffff;
  static constexpr uint64_t kSweep_ms = 512;  // once round
  static_assert(LINIMO_MAX_SERVICES <= kServiceMask + 1 && LINIMO_MAX_BACKEND_IDS <= kBackendMask + 1);

  struct alignas(64) Bucket {
    uint64_t words[kBucketEntries];
  };

  static uint64_t fingerprint(uint64_t datagram) { return datagram >> kFingerprintShift; }
  Bucket& bucket(uint64_t datagram) const { return buckets_[datagram % kBuckets]; }

  std::unique_ptr<Bucket[]> buckets_;
  uint64_t swept_ms_ = 0;
  uint32_t sweep_next_ = 0;
};

}  // namespace linimo
