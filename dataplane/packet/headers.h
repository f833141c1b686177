// Headers as they lie on the wire (network byte order), readable at any alignment.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace linimo::packet {

static_assert(std::endian::native == std::endian::little, "byte swaps below assume a little-endian host");

constexpr uint16_t swap16(uint16_t v) {
  return __builtin_bswap16(v);
}
constexpr uint32_t swap32(uint32_t v) {
  return __builtin_bswap32(v);
}

struct Ethernet {
  uint8_t destination[6];
  uint8_t source[6];
  uint16_t type;
} __attribute__((packed));

struct VlanTag {  // IEEE 802.1Q; follows an Ethernet type of kTypeVlan or kTypeQinq
  uint16_t control;
  uint16_t type;
} __attribute__((packed));

struct Ipv4 {  // RFC 791
  uint8_t version_ihl;
  uint8_t tos;
  uint16_t total_length;
  uint16_t id;
  uint16_t fragment;  // kDontFragment, kMoreFragments, offset in units of 8 bytes
  uint8_t ttl;
  uint8_t protocol;
  uint16_t checksum;
  uint32_t source;
  uint32_t destination;

  uint32_t header_length() const { return (version_ihl & 0x0fU) * 4; }
} __attribute__((packed));

struct Ipv6 {  // RFC 8200
  uint32_t version_class_label;
  uint16_t payload_length;
  uint8_t next_header;
  uint8_t hop_limit;
  uint8_t source[16];
  uint8_t destination[16];
} __attribute__((packed));

struct Ipv6Fragment {  // RFC 8200, 4.5
  uint8_t next_header;
  uint8_t reserved;
  uint16_t offset;  // in units of 8 bytes, in the upper 13 bits; the last says that more come
  uint32_t id;
} __attribute__((packed));

struct Tcp {  // RFC 9293
  uint16_t source_port;
  uint16_t destination_port;
  uint32_t sequence;
  uint32_t acknowledgement;
  uint8_t data_offset;  // high four bits, in units of 4 bytes
  uint8_t flags;
  uint16_t window;
  uint16_t checksum;
  uint16_t urgent;
} __attribute__((packed));

struct Udp {  // RFC 768
  uint16_t source_port;
  uint16_t destination_port;
  uint16_t length;
  uint16_t checksum;
} __attribute__((packed));

struct Gre {  // RFC 2784, without checksum
  uint16_t flags_version;
  uint16_t protocol;
} __attribute__((packed));

static_assert(sizeof(Ethernet) == 14 && sizeof(VlanTag) == 4 && sizeof(Ipv4) == 20 && sizeof(Ipv6) == 40);
static_assert(sizeof(Tcp) == 20 && sizeof(Udp) == 8 && sizeof(Gre) == 4);

inline constexpr uint16_t kTypeIpv4 = swap16(0x0800);
inline constexpr uint16_t kTypeIpv6 = swap16(0x86dd);
inline constexpr uint16_t kTypeArp = swap16(0x0806);
inline constexpr uint16_t kTypeLldp = swap16(0x88cc);
inline constexpr uint16_t kTypeVlan = swap16(0x8100);
inline constexpr uint16_t kTypeQinq = swap16(0x88a8);

inline constexpr uint16_t kDontFragment = swap16(0x4000);
inline constexpr uint16_t kMoreFragmentsOrOffset = swap16(0x3fff);
inline constexpr uint16_t kFragmentOffset = swap16(0x1fff);
inline constexpr uint16_t kMoreOrOffset6 = swap16(0xfff9);  // in the IPv6 Fragment header
inline constexpr uint16_t kOffset6 = swap16(0xfff8);

inline constexpr uint8_t kHopByHop = 0;
inline constexpr uint8_t kIcmp = 1, kIpip = 4, kTcp = 6, kUdp = 17, kIpv6InIp = 41, kRouting = 43,
                         kFragment = 44, kGre = 47, kIcmpv6 = 58, kNoNext = 59, kDestinationOptions = 60;

inline constexpr uint16_t kGueFirstPort = 49152;  // of 16384 source ports

inline constexpr uint8_t kTcpFin = 0x01, kTcpSyn = 0x02, kTcpRst = 0x04, kTcpAck = 0x10;

/// The first segment of a connection: SYN alone.
constexpr bool begins_connection(uint8_t tcp_flags) {
  return (tcp_flags & (kTcpFin | kTcpSyn | kTcpRst | kTcpAck)) == kTcpSyn;
}

}  // namespace linimo::packet
