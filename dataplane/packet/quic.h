// The server id in a QUIC packet's Destination Connection ID (draft-ietf-quic-load-balancers, plain text).
// Versions 1 and 2 (RFC 9000, RFC 9369) are told apart only to find the packets whose connection id the
// client chose.
#pragma once

#include <algorithm>
#include <optional>

#include "dataplane/packet/parse.h"

namespace linimo::packet {

/// Of `length` bytes, 1 to 8, at `offset` in the connection id, read as a big-endian number. Nothing for an
/// Initial or 0-RTT packet, for what is too short, and for an id that says by its first three bits that no
/// server is named in it. A short header's fixed bit may be cleared (RFC 9287). After `judge` said UDP.
inline std::optional<uint64_t> quic_server_id(const Frame& frame, const Flow& flow, uint32_t offset,
                                              uint32_t length) {
  constexpr uint8_t kLong = 0x80, kUnroutable = 7;
  constexpr uint32_t kVersion2 = 0x6b3343cf, kLongIdAt = 6, kShortIdAt = 1;
  const auto& udp = *reinterpret_cast<const Udp*>(frame.ip + flow.l4_offset);
  const uint8_t* payload = frame.ip + flow.l4_offset + sizeof(Udp);
  // Of a first fragment the payload goes on in the next.
  const uint32_t size = std::min<uint32_t>(swap16(udp.length), flow.ip_length - flow.l4_offset) - sizeof(Udp);
  if (size == 0) return std::nullopt;
  uint32_t at = kShortIdAt;
  if (payload[0] & kLong) {
    if (size < kLongIdAt) return std::nullopt;
    uint32_t version = 0;
    std::memcpy(&version, payload + 1, 4);
    version = swap32(version);
    const uint8_t type = payload[0] >> 4 & 3;
    const bool client_chose = version == kVersion2 ? type == 1 || type == 2 : type == 0 || type == 1;
    if (version == 0 || client_chose || offset + length > payload[5]) return std::nullopt;
    at = kLongIdAt;
  }
  if (at + offset + length > size || payload[at] >> 5 == kUnroutable) return std::nullopt;
  uint64_t id = 0;
  for (uint32_t i = 0; i < length; ++i) id = id << 8 | payload[at + offset + i];
  return id;
}

}  // namespace linimo::packet
