#include "dataplane/packet/reply.h"

#include <algorithm>
#include <array>

#include "dataplane/packet/checksum.h"

namespace linimo::packet {
namespace {

/// The addresses of the packet that is answered, the other way round.
struct Ends {
  std::array<uint8_t, 16> source{}, destination{};
  uint32_t size;

  explicit Ends(const Frame& frame) : size(frame.is_v6 ? 16 : 4) {
    const void* from = frame.is_v6 ? static_cast<const void*>(frame.v6().source) : &frame.v4().source;
    const void* to = frame.is_v6 ? static_cast<const void*>(frame.v6().destination) : &frame.v4().destination;
    std::memcpy(destination.data(), from, size);
    std::memcpy(source.data(), to, size);
  }

  /// What a pseudo header adds to a checksum.
  uint64_t pseudo_sum(uint8_t protocol, uint32_t length) const {
    return checksum_add(source.data(), size) + checksum_add(destination.data(), size) +
           linimo_checksum_pseudo(protocol, length);
  }
};

uint32_t ip_header_length(const Ends& ends) {
  return ends.size == 16 ? sizeof(Ipv6) : sizeof(Ipv4);
}

void write_ip(uint8_t* at, const Ends& ends, uint8_t protocol, uint8_t tos, uint32_t payload) {
  if (ends.size == 16) {
    Ipv6 ip{};
    ip.version_class_label = swap32(6U << 28);
    ip.payload_length = swap16(static_cast<uint16_t>(payload));
    ip.next_header = protocol;
    ip.hop_limit = LINIMO_REPLY_TTL;
    std::memcpy(ip.source, ends.source.data(), 16);
    std::memcpy(ip.destination, ends.destination.data(), 16);
    std::memcpy(at, &ip, sizeof ip);
    return;
  }
  Ipv4 ip{};
  ip.version_ihl = 0x45;
  ip.tos = tos;
  ip.total_length = swap16(static_cast<uint16_t>(sizeof ip + payload));
  ip.fragment = kDontFragment;
  ip.ttl = LINIMO_REPLY_TTL;
  ip.protocol = protocol;
  std::memcpy(&ip.source, ends.source.data(), 4);
  std::memcpy(&ip.destination, ends.destination.data(), 4);
  ip.checksum = checksum_finish(checksum_add(&ip, sizeof ip));
  std::memcpy(at, &ip, sizeof ip);
}

}  // namespace

Reply make_icmp_error(uint8_t* bytes, const Frame& frame, const Flow& flow, linimo_error_kind error,
                      uint32_t mtu) {
  const Ends ends(frame);
  const uint32_t headers = ip_header_length(ends) + LINIMO_ICMP_HEADER;
  const uint32_t quoted = linimo_quoted_length(frame.is_v6, flow.ip_length);
  const uint8_t* quote = bytes + frame.ip_offset;  // stays where it is

  uint8_t* reply = bytes - headers;
  std::memmove(reply, bytes, frame.ip_offset);
  std::swap_ranges(reply, reply + 6, reply + 6);

  std::array<uint8_t, LINIMO_ICMP_HEADER> icmp{};
  const uint16_t kind = linimo_type_and_code(frame.is_v6, error);
  std::memcpy(icmp.data(), &kind, sizeof kind);
  if (error == LINIMO_ERROR_TOO_BIG) {
    const uint32_t rest = swap32(mtu);  // IPv4 has 16 bits for it, behind 16 unused ones
    std::memcpy(icmp.data() + 4, &rest, 4);
  }
  uint64_t sum = checksum_add(quote, quoted, checksum_add(icmp.data(), icmp.size()));
  if (frame.is_v6) sum += ends.pseudo_sum(kIcmpv6, LINIMO_ICMP_HEADER + quoted);
  const uint16_t checksum = checksum_finish(sum);
  std::memcpy(icmp.data() + 2, &checksum, 2);

  uint8_t* ip = reply + frame.ip_offset;
  write_ip(ip, ends, frame.is_v6 ? kIcmpv6 : kIcmp, LINIMO_REPLY_TOS, LINIMO_ICMP_HEADER + quoted);
  std::memcpy(ip + ip_header_length(ends), icmp.data(), icmp.size());
  return {headers, frame.ip_offset + headers + quoted};
}

Reply make_reset(uint8_t* bytes, const Frame& frame, const Flow& flow) {
  const Ends ends(frame);
  Tcp segment;
  std::memcpy(&segment, frame.ip + flow.l4_offset, sizeof segment);
  Tcp reset{};
  reset.source_port = segment.destination_port;
  reset.destination_port = segment.source_port;
  reset.data_offset = sizeof reset / 4 << 4;
  const linimo_reset numbers =
      linimo_reset_for(segment.sequence, segment.acknowledgement, segment.flags,
                       uint32_t{flow.ip_length} - flow.l4_offset - (segment.data_offset >> 4) * 4U);
  reset.sequence = numbers.sequence;
  reset.acknowledgement = numbers.acknowledgement;
  reset.flags = numbers.flags;
  reset.checksum = checksum_finish(checksum_add(&reset, sizeof reset, ends.pseudo_sum(kTcp, sizeof reset)));

  std::swap_ranges(bytes, bytes + 6, bytes + 6);
  uint8_t* ip = bytes + frame.ip_offset;
  write_ip(ip, ends, kTcp, 0, sizeof reset);
  std::memcpy(ip + ip_header_length(ends), &reset, sizeof reset);
  return {0, frame.ip_offset + ip_header_length(ends) + static_cast<uint32_t>(sizeof reset)};
}

}  // namespace linimo::packet
