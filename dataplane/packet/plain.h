// Nearly every packet: IPv4 without options or IPv6 without extension headers, right behind an untagged
// Ethernet header, TCP or UDP, whole and well formed. Recognizing just that takes a few words and no loop,
// which the rules that judge any packet (maglev/rules/judge.h, by parse.cc) do not: what is recognized here
// they pass.
#pragma once

#include <cstddef>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/parse.h"

namespace linimo::packet {

enum class Plain : uint8_t { kNone, kIpv4, kIpv6 };

/// What the first bytes look like.
inline Plain plain_kind(const uint8_t* bytes, uint16_t length) {
  constexpr uint32_t kType = offsetof(Ethernet, type);
  if (length < sizeof(Ethernet) + sizeof(Ipv6)) return Plain::kNone;  // shorter ones are padded
  uint32_t head;  // the Ethernet type and the first two bytes of IP
  std::memcpy(&head, bytes + kType, sizeof head);
  if ((head & 0xff'ffff) == (kTypeIpv4 | 0x45U << 16)) return Plain::kIpv4;
  return (head & 0xf0'ffff) == (kTypeIpv6 | 0x60U << 16) ? Plain::kIpv6 : Plain::kNone;
}

/// What forwarding needs to know of one.
struct PlainFlow {
  uint32_t ip_length;  // by the packet's header: what lies behind is padding
  uint32_t ports;      // source, destination, as they follow one another in memory
  uint8_t protocol;
  uint8_t tcp_flags;  // 0 for UDP
};

/// Of a frame of that kind. True: `locate` and `judge` would say kFlow, and no fragment; only the source
/// address was not looked at. False: they have to be asked, and nothing is known.
template <bool kV6>
inline bool read_plain(const uint8_t* bytes, uint32_t length, bool checksum_known_good, PlainFlow& flow) {
  constexpr uint32_t kIp = sizeof(Ethernet);
  constexpr int32_t kHeader = kV6 ? sizeof(Ipv6) : sizeof(Ipv4);
  const uint8_t* const ip = bytes + kIp;
  const uint8_t* const l4 = ip + kHeader;
  const auto& ip4 = *reinterpret_cast<const Ipv4*>(ip);
  const auto& ip6 = *reinterpret_cast<const Ipv6*>(ip);
  flow.ip_length = kV6 ? kHeader + swap16(ip6.payload_length) : swap16(ip4.total_length);
  flow.protocol = kV6 ? ip6.next_header : ip4.protocol;
  if (flow.ip_length > length - kIp) return false;
  if (!kV6 && (ip4.fragment & kMoreFragmentsOrOffset) != 0) return false;
  if (!kV6 && !checksum_known_good && !checksum_holds(&ip4, sizeof ip4)) return false;

  const int32_t l4_length = static_cast<int32_t>(flow.ip_length) - kHeader;  // below 0 if the header is cut
  if (flow.protocol == kTcp) {
    constexpr int32_t kLeast = sizeof(Tcp);
    if (kV6 && l4_length < kLeast) return false;  // IPv4's would lie within the least frame
    const auto& tcp = *reinterpret_cast<const Tcp*>(l4);
    const int32_t header = tcp.data_offset >> 2 & 0x3c;
    if (header < kLeast || header > l4_length) return false;
    flow.tcp_flags = tcp.flags;
  } else if (flow.protocol == kUdp) {
    constexpr int32_t kLeast = sizeof(Udp);
    if (kV6 && l4_length < kLeast) return false;
    const int32_t said = swap16(reinterpret_cast<const Udp*>(l4)->length);
    if (said < kLeast || said > l4_length) return false;
    flow.tcp_flags = 0;
  } else {
    return false;
  }
  std::memcpy(&flow.ports, l4, sizeof flow.ports);
  return true;
}

}  // namespace linimo::packet
