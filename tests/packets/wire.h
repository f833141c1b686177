// Reading bytes as they lie on the wire, for checks that must not lean on the code under test.
#pragma once

#include <optional>

#include "tests/packets/engine.h"

namespace linimo::tests {

inline constexpr uint16_t kTypeIpv4 = 0x0800, kTypeIpv6 = 0x86dd;

inline uint16_t be16(ByteView bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

/// One's complement sum, not folded; an odd byte at the end counts as if a zero followed.
inline uint64_t sum_of(ByteView bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += be16(bytes, i);
  return bytes.size() % 2 == 0 ? sum : sum + (uint64_t{bytes.back()} << 8);
}

/// Does a sum that includes its checksum say that it is right?
inline bool is_right(uint64_t sum) {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

/// Bytes before the type of what an Ethernet frame carries: 12, and 4 for each of at most two tags.
inline size_t type_at(ByteView frame) {
  size_t at = 12;
  for (int tags = 0; tags < 2 && frame.size() >= at + 6; ++tags) {
    if (be16(frame, at) != 0x8100 && be16(frame, at) != 0x88a8) break;
    at += 4;
  }
  return at;
}

/// The IP packet in a frame, by its own lengths; nothing if they do not fit.
inline std::optional<ByteView> ip_packet(ByteView frame) {
  const size_t at = type_at(frame);
  if (frame.size() < at + 2) return std::nullopt;
  const ByteView ip = frame.subspan(at + 2);
  const bool v6 = be16(frame, at) == kTypeIpv6;
  if ((!v6 && be16(frame, at) != kTypeIpv4) || ip.size() < (v6 ? 40 : 20)) return std::nullopt;
  const size_t length = v6 ? 40 + be16(ip, 4) : be16(ip, 2);
  if (length > ip.size() || length < (v6 ? 40 : 20)) return std::nullopt;
  return ip.first(length);
}

/// What lies behind a packet's IP header and extension headers. The packet's lengths must fit.
struct Payload {
  uint8_t protocol;
  size_t at;
  bool fragment = false;        // not the whole of a datagram
  bool other_receiver = false;  // a routing header still names another destination
};

inline std::optional<Payload> payload_of(ByteView ip) {
  if (ip[0] >> 4 == 4) return Payload{ip[9], size_t{4} * (ip[0] & 15U), (be16(ip, 6) & 0x3fff) != 0};
  Payload payload{ip[6], 40};
  while (payload.protocol == 0 || payload.protocol == 43 || payload.protocol == 44 ||
         payload.protocol == 60) {
    if (payload.fragment && payload.protocol == 44) return std::nullopt;
    if (ip.size() < payload.at + 8) return std::nullopt;
    const ByteView header = ip.subspan(payload.at);
    const bool fragment = payload.protocol == 44;
    if (fragment && (be16(header, 2) & 0xfff9) != 0) payload.fragment = true;
    if (payload.protocol == 43 && header[3] != 0) payload.other_receiver = true;
    payload = {header[0], payload.at + 8 + (fragment ? 0 : header[1] * 8U), payload.fragment,
               payload.other_receiver};
    if (fragment && (be16(header, 2) & 0xfff8) != 0) return payload;  // what follows is no header
    if (payload.at > ip.size()) return std::nullopt;
  }
  return payload;
}

/// Addresses, length and protocol, as TCP, UDP and ICMPv6 sum them up before their own bytes.
inline uint64_t pseudo_sum(ByteView ip, size_t length, uint8_t protocol) {
  return sum_of(ip[0] >> 4 == 4 ? ip.subspan(12, 8) : ip.subspan(8, 32)) + length + protocol;
}

}  // namespace linimo::tests
