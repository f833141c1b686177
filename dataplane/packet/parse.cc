#include "dataplane/packet/parse.h"

#include "dataplane/packet/checksum.h"

namespace linimo::packet {
namespace {

constexpr int kMaxExtensionHeaders = 6;

bool is_martian_source(uint32_t network_order) {
  const uint32_t address = swap32(network_order);
  const uint32_t first = address >> 24;
  return first == 0 || first == 127 ||
         first >= 224;  // this network, loopback, multicast, reserved, broadcast
}

bool is_martian_source(const uint8_t (&address)[16]) {
  if (address[0] == 0xff) return true;  // multicast
  uint64_t high = 0;
  uint64_t low = 0;
  std::memcpy(&high, address, 8);
  std::memcpy(&low, address + 8, 8);
  if (high != 0) return false;
  const uint64_t value = __builtin_bswap64(low);
  return value <= 1 ||
         value >> 32 == 0xffff;  // unspecified, loopback, IPv4-mapped (never on the wire: RFC 4291)
}

/// TCP or UDP at `at`, `length` bytes of IP payload that all lie within the frame.
Verdict judge_transport(const uint8_t* at, uint32_t length, Flow& flow) {
  if (flow.protocol == kTcp) {
    if (length < sizeof(Tcp)) return Verdict::kMalformed;
    const auto& tcp = *reinterpret_cast<const Tcp*>(at);
    const uint32_t header = (tcp.data_offset >> 4) * 4U;
    if (header < sizeof(Tcp) || header > length) return Verdict::kMalformed;
    flow.source_port = tcp.source_port;
    flow.destination_port = tcp.destination_port;
    flow.tcp_flags = tcp.flags;
    return Verdict::kFlow;
  }
  if (flow.protocol == kUdp) {
    if (length < sizeof(Udp)) return Verdict::kMalformed;
    const auto& udp = *reinterpret_cast<const Udp*>(at);
    const uint32_t said = swap16(udp.length);
    // A first fragment carries the length of the whole datagram.
    if (said < sizeof(Udp) || (said > length && flow.fragment == Fragment::kNone)) return Verdict::kMalformed;
    flow.source_port = udp.source_port;
    flow.destination_port = udp.destination_port;
    flow.tcp_flags = 0;
    return Verdict::kFlow;
  }
  return flow.protocol == kIcmp || flow.protocol == kIcmpv6 ? Verdict::kIcmp : Verdict::kOther;
}

Verdict judge_v4(const Frame& frame, bool checksum_known_good, Flow& flow) {
  const Ipv4& ip = frame.v4();
  const uint32_t header = ip.header_length();
  const uint32_t total = swap16(ip.total_length);
  if (ip.version_ihl >> 4 != 4 || header < sizeof(Ipv4) || total < header || total > frame.available) {
    return Verdict::kMalformed;
  }
  if (!checksum_known_good && !checksum_holds(&ip, header)) return Verdict::kBadChecksum;
  if (is_martian_source(ip.source)) return Verdict::kMartian;
  flow.ip_length = static_cast<uint16_t>(total);
  flow.l4_offset = static_cast<uint16_t>(header);
  flow.protocol = ip.protocol;
  if (ip.fragment & kMoreFragmentsOrOffset) {
    flow.fragment = ip.fragment & kFragmentOffset ? Fragment::kLater : Fragment::kFirst;
    flow.datagram_id = ip.id;
    if (flow.protocol == kIcmp) return Verdict::kIcmp;
    if (flow.protocol != kTcp && flow.protocol != kUdp) return Verdict::kOther;
    if (flow.fragment == Fragment::kLater) return Verdict::kLaterFragment;
  }
  const Verdict verdict = judge_transport(frame.ip + header, total - header, flow);
  return verdict == Verdict::kIcmp && flow.protocol == kIcmpv6 ? Verdict::kOther : verdict;
}

void judge_fragment_header(const Ipv6Fragment& header, Flow& flow) {
  if ((header.offset & kMoreOrOffset6) == 0) return;
  flow.fragment = header.offset & kOffset6 ? Fragment::kLater : Fragment::kFirst;
  flow.datagram_id = header.id;
}

Verdict judge_v6(const Frame& frame, Flow& flow) {
  const Ipv6& ip = frame.v6();
  const uint32_t end = sizeof(Ipv6) + swap16(ip.payload_length);
  if (frame.ip[0] >> 4 != 6 || end > frame.available || end > 0xffff) return Verdict::kMalformed;
  if (is_martian_source(ip.source)) return Verdict::kMartian;
  flow.ip_length = static_cast<uint16_t>(end);
  uint8_t next = ip.next_header;
  uint32_t offset = sizeof(Ipv6);
  bool fragment_seen = false;
  int headers = 0;  // the Fragment header not among them
  while (is_extension(next) || next == kFragment) {
    if (end - offset < 8) return Verdict::kMalformed;
    const uint8_t* header = frame.ip + offset;
    if (next == kFragment) {
      if (fragment_seen) return Verdict::kMalformed;
      fragment_seen = true;
      next = header[0];
      offset += sizeof(Ipv6Fragment);
      judge_fragment_header(*reinterpret_cast<const Ipv6Fragment*>(header), flow);
      if (flow.fragment != Fragment::kLater) continue;
      flow.l4_offset = static_cast<uint16_t>(offset);
      flow.protocol = next;
      if (next == kIcmpv6) return Verdict::kIcmp;
      return next == kTcp || next == kUdp || is_extension(next) ? Verdict::kLaterFragment : Verdict::kOther;
    }
    if (headers++ == kMaxExtensionHeaders) return Verdict::kMalformed;
    next = header[0];
    offset += 8 + header[1] * 8U;
    if (offset > end) return Verdict::kMalformed;
  }
  flow.l4_offset = static_cast<uint16_t>(offset);
  flow.protocol = next;
  const Verdict verdict = judge_transport(frame.ip + offset, end - offset, flow);
  return verdict == Verdict::kIcmp && flow.protocol == kIcmp ? Verdict::kOther : verdict;
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
  for (int tags = 0; tags < 2 && (link.type == kTypeVlan || link.type == kTypeQinq); ++tags) {
    if (length < link.length + sizeof(VlanTag)) return {length, 0};
    link.type = reinterpret_cast<const VlanTag*>(bytes + link.length)->type;
    link.length += sizeof(VlanTag);
  }
  return link;
}

bool is_control_port(uint16_t network_order, uint8_t protocol) {
  const uint16_t port = swap16(network_order);
  if (protocol == kTcp) return port == 179;                             // BGP, RFC 4271
  return port == 3784 || port == 3785 || port == 4784 || port == 6784;  // BFD, RFC 5881, 5883, 7130
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

Verdict judge(const Frame& frame, bool checksum_known_good, Flow& flow) {
  flow.fragment = Fragment::kNone;
  return frame.is_v6 ? judge_v6(frame, flow) : judge_v4(frame, checksum_known_good, flow);
}

bool is_on_its_way(const Frame& frame, const Flow& flow) {
  if (!frame.is_v6) return false;
  uint8_t next = frame.v6().next_header;
  for (uint32_t at = sizeof(Ipv6); at < flow.l4_offset;) {
    if (next == kRouting && frame.ip[at + 3] != 0) return true;
    const uint32_t length = next == kFragment ? 8 : 8 + frame.ip[at + 1] * 8U;
    next = frame.ip[at];
    at += length;
  }
  return false;
}

bool is_neighbour_discovery(const Frame& frame, const Flow& flow) {
  constexpr uint32_t kLeast = 8;
  constexpr uint8_t kFirst = 133, kLast = 137;  // router solicitation to redirect
  if (!frame.is_v6 || flow.fragment != Fragment::kNone || frame.v6().hop_limit != 255 ||
      flow.ip_length < flow.l4_offset + kLeast) {
    return false;
  }
  const uint8_t* message = frame.ip + flow.l4_offset;
  return message[0] >= kFirst && message[0] <= kLast && message[1] == 0;
}

bool is_source_routed(const Frame& frame) {
  constexpr uint8_t kEnd = 0, kNothing = 1, kLoose = 131, kStrict = 137;
  if (frame.is_v6) return false;
  const uint32_t end = frame.v4().header_length();
  for (uint32_t at = sizeof(Ipv4); at < end && frame.ip[at] != kEnd;) {
    const uint8_t option = frame.ip[at];
    if (option == kLoose || option == kStrict) return true;
    if (option == kNothing) {
      ++at;
    } else if (at + 1 < end && frame.ip[at + 1] >= 2) {
      at += frame.ip[at + 1];
    } else {
      break;  // no list of options
    }
  }
  return false;
}

bool is_control(const uint8_t* bytes, uint32_t length) {
  Frame frame;
  if (!locate(bytes, length, frame)) {
    const uint16_t type = link_header(bytes, length).type;
    return type == kTypeArp || type == kTypeLldp;
  }
  const uint32_t header = frame.is_v6 ? sizeof(Ipv6) : frame.v4().header_length();
  uint8_t protocol = frame.is_v6 ? frame.v6().next_header : frame.v4().protocol;
  uint32_t l4 = header;
  if (frame.is_v6 && protocol == kHopByHop && frame.available >= header + 8) {  // MLD carries a router alert
    protocol = frame.ip[header];
    l4 += 8 + frame.ip[header + 1] * 8U;
  }
  if (frame.available < l4 + 4) return false;
  if (protocol == kIcmpv6) {
    const uint8_t type = frame.ip[l4];
    return (type >= 130 && type <= 137) || type == 143;  // MLD, ND, RA, redirect
  }
  if (protocol != kTcp && protocol != kUdp) return false;
  const auto& ports = *reinterpret_cast<const Udp*>(frame.ip + l4);
  return is_control_port(ports.source_port, protocol) || is_control_port(ports.destination_port, protocol);
}

}  // namespace linimo::packet
