// Headers as they lie on the wire (network byte order), readable at any alignment.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "maglev/rules/protocols.h"

namespace linimo::packet {

static_assert(std::endian::native == std::endian::little, "byte swaps below assume a little-endian host");

constexpr uint16_t swap16(uint16_t v) {
  return __builtin_bswap16(v);
}
constexpr uint32_t swap32(uint32_t v) {
  return __builtin_bswap32(v);
}

/// Words at any alignment, as they lie in memory.
inline uint32_t load32(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}
inline uint64_t load64(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}
inline void store32(uint8_t* bytes, uint32_t word) {
  std::memcpy(bytes, &word, sizeof word);
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

inline constexpr uint16_t kTypeIpv4 = LINIMO_TYPE_IPV4;
inline constexpr uint16_t kTypeIpv6 = LINIMO_TYPE_IPV6;

inline constexpr uint16_t kDontFragment = LINIMO_DONT_FRAGMENT;
inline constexpr uint16_t kMoreFragmentsOrOffset = LINIMO_MORE_OR_OFFSET;
inline constexpr uint16_t kFragmentOffset = LINIMO_OFFSET;

inline constexpr uint8_t kIcmp = LINIMO_ICMP, kIpip = LINIMO_IPIP, kTcp = LINIMO_TCP, kUdp = LINIMO_UDP,
                         kIpv6InIp = LINIMO_IPV6, kGre = LINIMO_GRE, kIcmpv6 = LINIMO_ICMPV6;

inline constexpr uint8_t kTcpFin = LINIMO_FIN, kTcpSyn = LINIMO_SYN, kTcpRst = LINIMO_RST,
                         kTcpAck = LINIMO_ACK;

}  // namespace linimo::packet
