#include "dataplane/packet/quote.h"

#include "maglev/rules/icmp.h"
#include "maglev/rules/ipv6_extensions.h"

namespace linimo::packet {
namespace {

struct Quoted {
  const uint8_t* ip;
  uint32_t left;  // bytes up to the end of the message
};

/// Where the ports lie, from the quoted IP header; 0: nowhere.
uint32_t read_v4(const Quoted& quoted, QuotedFlow& flow) {
  if (quoted.left < sizeof(Ipv4)) return 0;
  const auto& ip = *reinterpret_cast<const Ipv4*>(quoted.ip);
  const uint32_t header = ip.header_length();
  if (!linimo_is_sound_quote4(ip.version_ihl >> 4, header, quoted.left, ip.fragment)) return 0;
  std::memcpy(flow.source.data(), &ip.destination, 4);
  std::memcpy(flow.destination.data(), &ip.source, 4);
  flow.protocol = ip.protocol;
  return header;
}

uint32_t read_v6(const Quoted& quoted, QuotedFlow& flow) {
  if (quoted.left < sizeof(Ipv6) || quoted.ip[0] >> 4 != 6) return 0;
  const auto& ip = *reinterpret_cast<const Ipv6*>(quoted.ip);
  std::memcpy(flow.source.data(), ip.destination, 16);
  std::memcpy(flow.destination.data(), ip.source, 16);
  linimo_extensions chain = linimo_extensions_begin(ip.next_header);
  while (linimo_has_extension(&chain)) {
    if (quoted.left - chain.offset < 8 ||
        !linimo_pass_extension(&chain, load64(quoted.ip + chain.offset), quoted.left))
      return 0;
  }
  flow.protocol = chain.next;
  if (chain.fragment == LINIMO_LATER_FRAGMENT || quoted.left - chain.offset < LINIMO_QUOTED_TRANSPORT)
    return 0;
  return chain.offset;
}

}  // namespace

std::optional<QuotedFlow> quoted_flow(const Frame& frame, const Flow& flow) {
  const uint8_t* icmp = frame.ip + flow.l4_offset;
  const auto length = static_cast<uint32_t>(flow.ip_length - flow.l4_offset);
  if (flow.fragment != Fragment::kNone || length < LINIMO_ICMP_HEADER ||
      !linimo_is_icmp_error(frame.is_v6, icmp[0]))
    return std::nullopt;
  const Quoted quoted{icmp + LINIMO_ICMP_HEADER, length - LINIMO_ICMP_HEADER};
  QuotedFlow about{};
  const uint32_t ports = frame.is_v6 ? read_v6(quoted, about) : read_v4(quoted, about);
  if (ports == 0 || (about.protocol != kTcp && about.protocol != kUdp)) return std::nullopt;
  const bool from_here = frame.is_v6 ? std::memcmp(about.destination.data(), frame.v6().destination, 16) == 0
                                     : std::memcmp(about.destination.data(), &frame.v4().destination, 4) == 0;
  if (!from_here) return std::nullopt;
  std::memcpy(&about.destination_port, quoted.ip + ports, 2);
  std::memcpy(&about.source_port, quoted.ip + ports + 2, 2);
  return about;
}

}  // namespace linimo::packet
