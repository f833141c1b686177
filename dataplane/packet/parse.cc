#include "dataplane/packet/parse.h"

#include "dataplane/packet/checksum.h"
#include "maglev/rules/control.h"
#include "maglev/rules/icmp.h"
#include "maglev/rules/ipv6_extensions.h"
#include "maglev/rules/martian.h"

namespace linimo::packet {
namespace {

bool is_martian_source(const uint8_t (&address)[16]) {
  return linimo_is_martian6(load64(address), load64(address + 8)) != 0;
}

/// TCP or UDP at `at`, `length` bytes of IP payload that all lie within the frame.
Verdict judge_transport(const uint8_t* at, uint32_t length, bool v6, Flow& flow) {
  const auto fragment = static_cast<linimo_fragment_kind>(flow.fragment);
  if (flow.protocol == kTcp) {
    if (length < sizeof(Tcp)) return Verdict::kMalformed;
    const auto& tcp = *reinterpret_cast<const Tcp*>(at);
    if (!linimo_is_sound_tcp((tcp.data_offset >> 4) * 4U, length)) return Verdict::kMalformed;
    flow.source_port = tcp.source_port;
    flow.destination_port = tcp.destination_port;
    flow.tcp_flags = tcp.flags;
    return Verdict::kFlow;
  }
  if (flow.protocol == kUdp) {
    if (length < sizeof(Udp)) return Verdict::kMalformed;
    const auto& udp = *reinterpret_cast<const Udp*>(at);
    if (!linimo_is_sound_udp(swap16(udp.length), length, fragment)) return Verdict::kMalformed;
    flow.source_port = udp.source_port;
    flow.destination_port = udp.destination_port;
    flow.tcp_flags = 0;
    return Verdict::kFlow;
  }
  return Verdict{static_cast<uint8_t>(linimo_judge_protocol(v6, flow.protocol, fragment))};
}

Verdict judge_v4(const Frame& frame, HeaderChecksum checksum, Flow& flow) {
  const Ipv4& ip = frame.v4();
  const uint32_t header = ip.header_length();
  const uint32_t total = swap16(ip.total_length);
  if (!linimo_is_sound_ipv4(ip.version_ihl >> 4, header, total, frame.available)) return Verdict::kMalformed;
  if (checksum == HeaderChecksum::kBad) return Verdict::kBadChecksum;
  if (checksum == HeaderChecksum::kUnknown && !checksum_holds(&ip, header)) return Verdict::kBadChecksum;
  if (linimo_is_martian4(ip.source)) return Verdict::kMartian;
  flow.ip_length = static_cast<uint16_t>(total);
  flow.l4_offset = static_cast<uint16_t>(header);
  flow.protocol = ip.protocol;
  const linimo_fragment_kind fragment = linimo_fragment_kind4(ip.fragment);
  if (fragment != LINIMO_WHOLE) {
    flow.fragment = Fragment{static_cast<uint8_t>(fragment)};
    flow.datagram_id = ip.id;
    const linimo_verdict verdict = linimo_judge_protocol(0, flow.protocol, fragment);
    if (verdict != LINIMO_VERDICT_FLOW) return Verdict{static_cast<uint8_t>(verdict)};
  }
  return judge_transport(frame.ip + header, total - header, false, flow);
}

Verdict judge_v6(const Frame& frame, Flow& flow) {
  const Ipv6& ip = frame.v6();
  const uint32_t end = sizeof(Ipv6) + swap16(ip.payload_length);
  if (!linimo_is_sound_ipv6(frame.ip[0] >> 4, end, frame.available)) return Verdict::kMalformed;
  if (is_martian_source(ip.source)) return Verdict::kMartian;
  linimo_extensions chain = linimo_extensions_begin(ip.next_header);
  while (linimo_has_extension(&chain)) {
    if (end - chain.offset < 8 || !linimo_pass_extension(&chain, load64(frame.ip + chain.offset), end))
      return Verdict::kMalformed;
  }
  flow.ip_length = static_cast<uint16_t>(end);
  flow.l4_offset = static_cast<uint16_t>(chain.offset);
  flow.protocol = chain.next;
  flow.fragment = Fragment{chain.fragment};
  flow.datagram_id = chain.id;
  flow.on_its_way = chain.on_its_way;
  if (flow.fragment == Fragment::kLater)
    return Verdict{static_cast<uint8_t>(linimo_judge_later_fragment6(chain.next))};
  return judge_transport(frame.ip + chain.offset, end - chain.offset, true, flow);
}

struct LinkHeader {
  uint32_t length;  // up to what the type names, never beyond the frame
  uint16_t type;    // 0: cut short
};

/// Ethernet and at most two VLAN tags.
LinkHeader link_header(const uint8_t* bytes, uint32_t length) {
  LinkHeader link{sizeof(Ethernet), 0};
  if (length < link.length) return {length, 0};
  link.type = reinterpret_cast<const Ethernet*>(bytes)->type;
  for (int tags = 0; tags < 2 && linimo_is_tag(link.type); ++tags) {
    if (length < link.length + sizeof(VlanTag)) return {length, 0};
    link.type = reinterpret_cast<const VlanTag*>(bytes + link.length)->type;
    link.length += sizeof(VlanTag);
  }
  return link;
}

}  // namespace

bool locate(const uint8_t* bytes, uint32_t length, Frame& frame) {
  const LinkHeader link = link_header(bytes, length);
  frame.ip = bytes + link.length;
  frame.ip_offset = static_cast<uint16_t>(link.length);
  frame.available = static_cast<uint16_t>(length - link.length > 0xffff ? 0xffff : length - link.length);
  frame.is_v6 = link.type == kTypeIpv6;
  if (link.type == kTypeIpv4) return frame.available >= sizeof(Ipv4);
  return frame.is_v6 && frame.available >= sizeof(Ipv6);
}

Verdict judge(const Frame& frame, HeaderChecksum checksum, Flow& flow) {
  flow.fragment = Fragment::kNone;
  flow.on_its_way = false;
  return frame.is_v6 ? judge_v6(frame, flow) : judge_v4(frame, checksum, flow);
}

bool is_neighbour_discovery(const Frame& frame, const Flow& flow) {
  if (!frame.is_v6 || flow.fragment != Fragment::kNone ||
      flow.ip_length < flow.l4_offset + LINIMO_ICMP_HEADER)
    return false;
  const uint8_t* message = frame.ip + flow.l4_offset;
  return linimo_is_neighbour_discovery(frame.v6().hop_limit, message[0], message[1]) != 0;
}

bool is_source_routed(const Frame& frame) {
  if (frame.is_v6) return false;
  const uint32_t end = frame.v4().header_length();
  for (uint32_t at = sizeof(Ipv4); at < end;) {
    const uint8_t option = frame.ip[at];
    if (linimo_is_source_route(option)) return true;
    at = linimo_behind_option(at, end, option, at + 1 < end ? frame.ip[at + 1] : uint8_t{0});
  }
  return false;
}

bool is_control(const uint8_t* bytes, uint32_t length, const Frame* located) {
  if (located == nullptr) return linimo_is_control_type(link_header(bytes, length).type) != 0;
  const Frame& frame = *located;
  uint8_t protocol = frame.is_v6 ? frame.v6().next_header : frame.v4().protocol;
  uint32_t l4 = frame.is_v6 ? sizeof(Ipv6) : frame.v4().header_length();
  if (frame.is_v6 && protocol == LINIMO_HOP_BY_HOP &&
      frame.available >= l4 + 8) {  // MLD carries a router alert
    protocol = frame.ip[l4];
    l4 += linimo_extension_length(frame.ip[l4 + 1]);
  }
  return frame.available >= l4 + 4 && linimo_is_control(protocol, load32(frame.ip + l4));
}

}  // namespace linimo::packet
