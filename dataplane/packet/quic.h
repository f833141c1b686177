// Reads what maglev/rules/quic.h wants to know of a QUIC packet.
#pragma once

#include <algorithm>
#include <optional>

#include "dataplane/packet/parse.h"
#include "maglev/rules/quic.h"

namespace linimo::packet {

/// Of `length` bytes, 1 to 8, at `offset` in the connection id, read as a big-endian number. Nothing for an
/// Initial or 0-RTT packet, for what is too short, and for an id that says by its first three bits that no
/// server is named in it. After `judge` said UDP.
inline std::optional<uint64_t> quic_server_id(const Frame& frame, const Flow& flow, uint32_t offset,
                                              uint32_t length) {
  const auto& udp = *reinterpret_cast<const Udp*>(frame.ip + flow.l4_offset);
  const uint8_t* payload = frame.ip + flow.l4_offset + sizeof(Udp);
  const uint32_t size =
      linimo_quic_size(swap16(udp.length), static_cast<uint32_t>(flow.ip_length - flow.l4_offset));
  if (size == 0) return std::nullopt;
  uint64_t head = 0;
  std::memcpy(&head, payload, std::min(size, LINIMO_QUIC_HEAD));
  const uint32_t at = linimo_quic_id_at(head, size, offset + length);
  if (at == 0 || linimo_quic_is_unroutable(payload[at])) return std::nullopt;
  uint64_t id = 0;
  std::memcpy(&id, payload + at + offset, length);
  return linimo_quic_server_id(id, length);
}

}  // namespace linimo::packet
