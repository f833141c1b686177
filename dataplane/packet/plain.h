// Nearly every packet: IPv4 without options or IPv6 without extension headers, right behind an untagged
// Ethernet header, TCP or UDP, whole and well formed. Recognizing just that takes a few words and no loop.
#pragma once

#include <cstddef>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/parse.h"

namespace linimo::packet {

enum class Plain : uint8_t { kNone, kIpv4, kIpv6 };

/// What the first bytes look like.
inline Plain plain_kind(const uint8_t* bytes, uint32_t length) {
  constexpr uint32_t kType = offsetof(Ethernet, type);
  if (length < sizeof(Ethernet) + sizeof(Ipv6) || length > 0xffff)
    return Plain::kNone;  // shorter ones are padded
  uint32_t head;          // the Ethernet type and the first two bytes of IP
  std::memcpy(&head, bytes + kType, sizeof head);
  if ((head & 0xff'ffff) == (kTypeIpv4 | 0x45U << 16)) return Plain::kIpv4;
  return (head & 0xf0'ffff) == (kTypeIpv6 | 0x60U << 16) ? Plain::kIpv6 : Plain::kNone;
}

/// Of a frame of that kind. True: `frame` and `flow` are what `locate` and `judge` would say of a kFlow; only
/// the source address was not looked at. False: they have to be asked, and nothing is known.
template <Plain kind>
inline bool read_plain(const uint8_t* bytes, uint32_t length, bool checksum_known_good, Frame& frame,
                       Flow& flow) {
  constexpr bool kV6 = kind == Plain::kIpv6;
  constexpr uint32_t kIp = sizeof(Ethernet);
  constexpr uint32_t kHeader = kV6 ? sizeof(Ipv6) : sizeof(Ipv4);
  const auto& ip4 = *reinterpret_cast<const Ipv4*>(bytes + kIp);
  const auto& ip6 = *reinterpret_cast<const Ipv6*>(bytes + kIp);
  const uint32_t total = kV6 ? kHeader + swap16(ip6.payload_length) : swap16(ip4.total_length);
  const uint8_t protocol = kV6 ? ip6.next_header : ip4.protocol;
  if (total > length - kIp || total < kHeader + sizeof(Udp)) return false;
  if (!kV6 && (ip4.fragment & kMoreFragmentsOrOffset) != 0) return false;
  if (!kV6 && !checksum_known_good && !checksum_holds(&ip4, sizeof ip4)) return false;

  const uint32_t l4_length = total - kHeader;
  const auto& udp = *reinterpret_cast<const Udp*>(bytes + kIp + kHeader);
  uint8_t tcp_flags = 0;
  if (protocol == kTcp) {
    if (l4_length < sizeof(Tcp)) return false;
    const auto& tcp = *reinterpret_cast<const Tcp*>(bytes + kIp + kHeader);
    const uint32_t header = (tcp.data_offset >> 4) * 4U;
    if (header < sizeof(Tcp) || header > l4_length) return false;
    tcp_flags = tcp.flags;
  } else if (protocol == kUdp) {
    const uint32_t said = swap16(udp.length);
    if (said < sizeof(Udp) || said > l4_length) return false;
  } else {
    return false;
  }
  frame = {bytes + kIp, static_cast<uint16_t>(length - kIp), kIp, kV6};
  flow = {.ip_length = static_cast<uint16_t>(total),
          .l4_offset = kHeader,
          .source_port = udp.source_port,
          .destination_port = udp.destination_port,
          .protocol = protocol,
          .tcp_flags = tcp_flags,
          .fragment = Fragment::kNone,
          .datagram_id = 0};
  return true;
}

}  // namespace linimo::packet
