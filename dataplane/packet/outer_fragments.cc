#include "dataplane/packet/outer_fragments.h"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/headers.h"

namespace linimo::packet {
namespace {

constexpr uint32_t kUnit = 8;  // all fragments but the last carry a multiple of it
constexpr uint32_t kMoreFragments = 0x2000, kMoreFragments6 = 1;

}  // namespace

OuterFragments::OuterFragments(const uint8_t* outer, uint32_t length, uint32_t mtu, uint32_t identification)
    : outer_(outer),
      identification_(identification),
      v6_(outer[0] >> 4 == 6),
      header_(v6_ ? sizeof(Ipv6) + sizeof(Ipv6Fragment) : sizeof(Ipv4)),
      payload_(length - (v6_ ? sizeof(Ipv6) : sizeof(Ipv4))) {
  if (mtu < header_ + kUnit) return;
  each_ = (mtu - header_) / kUnit * kUnit;
  const uint32_t count = (payload_ + each_ - 1) / each_;
  if (count <= kMost) count_ = count;
}

uint32_t OuterFragments::payload_of(uint32_t index) const {
  return std::min(each_, payload_ - index * each_);
}

void OuterFragments::write(uint32_t index, uint8_t* to) const {
  const uint32_t offset = index * each_;
  const uint32_t payload = payload_of(index);
  const bool more = index + 1 < count_;
  if (v6_) {
    Ipv6 ip;
    std::memcpy(&ip, outer_, sizeof ip);
    const Ipv6Fragment fragment{
        .next_header = ip.next_header,
        .reserved = 0,
        .offset = swap16(static_cast<uint16_t>(offset | (more ? kMoreFragments6 : 0))),
        .id = swap32(identification_)};
    ip.next_header = LINIMO_FRAGMENT;
    ip.payload_length = swap16(static_cast<uint16_t>(sizeof fragment + payload));
    std::memcpy(to, &ip, sizeof ip);
    std::memcpy(to + sizeof ip, &fragment, sizeof fragment);
    std::memcpy(to + header_, outer_ + sizeof ip + offset, payload);
  } else {
    Ipv4 ip;
    std::memcpy(&ip, outer_, sizeof ip);
    ip.total_length = swap16(static_cast<uint16_t>(header_ + payload));
    ip.id = swap16(static_cast<uint16_t>(identification_));
    ip.fragment = swap16(static_cast<uint16_t>(offset / kUnit | (more ? kMoreFragments : 0)));
    ip.checksum = 0;
    ip.checksum = checksum_finish(checksum_add(&ip, sizeof ip));
    std::memcpy(to, &ip, sizeof ip);
    std::memcpy(to + header_, outer_ + sizeof ip + offset, payload);
  }
}

}  // namespace linimo::packet
