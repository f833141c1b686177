#include "dataplane/packet/encapsulate.h"

#include "dataplane/packet/checksum.h"

namespace linimo::packet {
namespace {

constexpr uint8_t kTtl = 64;

uint8_t traffic_class(const Frame& frame) {
  return frame.is_v6 ? static_cast<uint8_t>(swap32(frame.v6().version_class_label) >> 20) : frame.v4().tos;
}

/// The protocol number that says what follows the outer IP header.
uint8_t next_protocol(const Tunnel& tunnel, const Frame& inner) {
  return tunnel.gre ? kGre : inner.is_v6 ? kIpv6InIp : kIpip;
}

}  // namespace

Tunnel make_tunnel(linimo_encapsulation encapsulation, const Address& source, const Address& destination) {
  Tunnel tunnel{};
  tunnel.gre = encapsulation == LINIMO_ENCAP_GRE;
  tunnel.outer_v6 = !destination.is_v4();
  const uint32_t ip_length = tunnel.outer_v6 ? sizeof(Ipv6) : sizeof(Ipv4);
  tunnel.header_length = static_cast<uint8_t>(ip_length + (tunnel.gre ? sizeof(Gre) : 0));
  if (tunnel.outer_v6) {
    auto& ip = *reinterpret_cast<Ipv6*>(tunnel.header);
    ip.hop_limit = kTtl;
    std::memcpy(ip.source, source.bytes.data(), 16);
    std::memcpy(ip.destination, destination.bytes.data(), 16);
  } else {
    auto& ip = *reinterpret_cast<Ipv4*>(tunnel.header);
    ip.version_ihl = 0x45;
    ip.ttl = kTtl;
    ip.source = source.v4_network_order();
    ip.destination = destination.v4_network_order();
    tunnel.checksum_base = checksum_fold(checksum_add(&ip, sizeof ip));
  }
  return tunnel;
}

void encapsulate(const Tunnel& tunnel, const Frame& inner, uint16_t inner_length, uint64_t flow_hash,
                 uint8_t* outer) {
  const uint8_t protocol = next_protocol(tunnel, inner);
  uint32_t ip_length;
  if (tunnel.outer_v6) {
    ip_length = sizeof(Ipv6);
    std::memcpy(outer, tunnel.header, sizeof(Ipv6));
    auto& ip = *reinterpret_cast<Ipv6*>(outer);
    const auto label = static_cast<uint32_t>(flow_hash & 0xfffff);
    ip.version_class_label = swap32(6U << 28 | uint32_t{traffic_class(inner)} << 20 | label);
    ip.payload_length = swap16(static_cast<uint16_t>(inner_length + tunnel.header_length - sizeof(Ipv6)));
    ip.next_header = protocol;
  } else {
    ip_length = sizeof(Ipv4);
    std::memcpy(outer, tunnel.header, sizeof(Ipv4));
    auto& ip = *reinterpret_cast<Ipv4*>(outer);
    const bool dont_fragment = inner.is_v6 || (inner.v4().fragment & kDontFragment);
    ip.tos = traffic_class(inner);
    ip.total_length = swap16(static_cast<uint16_t>(inner_length + tunnel.header_length));
    ip.id = dont_fragment ? 0 : inner.v4().id;
    ip.fragment = dont_fragment ? kDontFragment : 0;
    ip.protocol = protocol;
    const uint64_t varying =
        (uint32_t{ip.tos} << 8) + ip.total_length + ip.id + ip.fragment + (uint32_t{protocol} << 8);
    ip.checksum = checksum_finish(tunnel.checksum_base + varying);
  }
  if (tunnel.gre) {
    auto& gre = *reinterpret_cast<Gre*>(outer + ip_length);
    gre.flags_version = 0;
    gre.protocol = inner.is_v6 ? kTypeIpv6 : kTypeIpv4;
  }
}

}  // namespace linimo::packet
