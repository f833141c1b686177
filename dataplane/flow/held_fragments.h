// Fragments that came before the first of their datagram, kept until that is known or too long ago.
//
// Fixed size, and of one datagram no more than a part of it, so that a flood of strays costs what is declared
// here and no more. What a fragment is (an mbuf, a copy of a frame) is the owner's business. Not
// thread-safe: one object per worker.
//
//   if (!held.hold(datagram, mbuf, now_ms)) ...          // no place: it is the caller's to drop
//   held.release(now_ms, [&](uint64_t datagram, void* fragment, bool overdue) {
//     ...; return true;                                  // true: it has left, false: it stays
//   });
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "maglev/rules/fragment.h"

namespace linimo {

class HeldFragments {
 public:
  static constexpr uint32_t kCapacity = 256;
  static constexpr uint32_t kOfOneDatagram = 64;
  static constexpr uint64_t kLife_ms = LINIMO_FRAGMENT_LIFE_MS;

  /// `datagram`: the hash that its fragments share. False: there is no place, and the fragment was not taken.
  bool hold(uint64_t datagram, void* fragment, uint64_t now_ms) {
    if (count_ >= held_.size()) return false;
    const auto held = std::span(held_).first(count_);
    const auto same = std::count_if(held.begin(), held.end(),
                                    [&](const Held& other) { return other.datagram == datagram; });
    if (same >= kOfOneDatagram) return false;
    held_[count_++] = {datagram, now_ms, fragment};
    return true;
  }

  /// Offers each fragment, in the order of arrival, to `leaves(datagram, fragment, overdue)`, and forgets
  /// those for which it says true. It must say so for an overdue one sooner or later.
  template <class Leaves>
  void release(uint64_t now_ms, Leaves&& leaves) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      const Held held = held_[i];
      const bool overdue = now_ms >= held.arrived_ms + kLife_ms;
      if (!leaves(held.datagram, held.fragment, overdue)) held_[kept++] = held;
    }
    count_ = kept;
  }

  uint32_t count() const { return count_; }

 private:
  struct Held {
    uint64_t datagram;
    uint64_t arrived_ms;
    void* fragment;
  };

  std::array<Held, kCapacity> held_;
  uint32_t count_ = 0;
};

}  // namespace linimo
