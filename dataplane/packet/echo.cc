#include "dataplane/packet/echo.h"

#include <algorithm>
#include <cstddef>

#include "dataplane/packet/checksum.h"
#include "maglev/rules/reply.h"

namespace linimo::packet {

bool is_echo_request(const Frame& frame, const Flow& flow) {
  const uint8_t* icmp = frame.ip + flow.l4_offset;
  return flow.fragment == Fragment::kNone && flow.ip_length >= flow.l4_offset + LINIMO_ICMP_HEADER &&
         linimo_is_echo_request(frame.is_v6, icmp[0], icmp[1]) && !flow.on_its_way &&
         !is_source_routed(frame);
}

void make_echo_reply(uint8_t* bytes, const Frame& frame, const Flow& flow) {
  std::swap_ranges(bytes, bytes + 6, bytes + 6);
  uint8_t* ip = bytes + frame.ip_offset;
  const size_t source = frame.is_v6 ? offsetof(Ipv6, source) : offsetof(Ipv4, source);
  const size_t size = frame.is_v6 ? 16 : 4;
  std::swap_ranges(ip + source, ip + source + size, ip + source + size);
  if (frame.is_v6) {
    reinterpret_cast<Ipv6*>(ip)->hop_limit = LINIMO_REPLY_TTL;
  } else {
    auto& header = *reinterpret_cast<Ipv4*>(ip);
    header.ttl = LINIMO_REPLY_TTL;
    header.checksum = 0;
    header.checksum = checksum_finish(checksum_add(ip, header.header_length()));
  }
  uint8_t* icmp = ip + flow.l4_offset;
  uint16_t old[2];  // type and code, checksum
  std::memcpy(old, icmp, sizeof old);
  icmp[0] = frame.is_v6 ? LINIMO_ECHO_REPLY6 : LINIMO_ECHO_REPLY;
  uint16_t type;
  std::memcpy(&type, icmp, sizeof type);
  const uint16_t checksum = linimo_checksum_never_zero(linimo_checksum_changed(old[1], old[0], type));
  std::memcpy(icmp + 2, &checksum, sizeof checksum);
}

}  // namespace linimo::packet
