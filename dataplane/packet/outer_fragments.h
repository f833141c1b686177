// A tunnel packet that is longer than its way takes, in fragments (RFC 791; RFC 8200, 4.5; RFC 2473, 7.1).
// For packets that linimo_leaves_in_fragments (maglev/rules/reply.h) names.
//
//   const OuterFragments fragments(outer, length, mtu, identification);
//   for (uint32_t i = 0; i < fragments.count(); ++i) fragments.write(i, buffer);   // length(i) bytes
#pragma once

#include <cstdint>

namespace linimo::packet {

class OuterFragments {
 public:
  /// `outer`: an IPv4 header without options or an IPv6 header without extension headers, and what it
  /// carries, `length` bytes in all, more than `mtu`. It must outlive this, and not be changed.
  /// `identification`: not used again for these two addresses before a receiver has given up, which is after
  /// a minute; of IPv4 its lower half.
  OuterFragments(const uint8_t* outer, uint32_t length, uint32_t mtu, uint32_t identification);

  /// 0: the way takes less than a header and eight bytes, or would need more than kMost.
  uint32_t count() const { return count_; }
  uint32_t length(uint32_t index) const { return header_ + payload_of(index); }
  /// The IP packet. IPv4's may be cut again on its way: DF is clear.
  void write(uint32_t index, uint8_t* to) const;

  static constexpr uint32_t kMost = 32;

 private:
  uint32_t payload_of(uint32_t index) const;

  const uint8_t* outer_;
  uint32_t identification_;
  bool v6_;
  uint32_t header_;    // of a fragment
  uint32_t payload_;   // of the whole packet
  uint32_t each_ = 0;  // of every fragment but the last
  uint32_t count_ = 0;
};

}  // namespace linimo::packet
