#include "dataplane/packet/encapsulate.h"

#include <cstddef>

#include "dataplane/packet/checksum.h"

namespace linimo::packet {
namespace {

bool checksum_covers(const Frame& inner, const Flow& flow) {
  Udp udp{};
  if (flow.protocol == kUdp && flow.fragment == Fragment::kNone)
    std::memcpy(&udp, inner.ip + flow.l4_offset, sizeof udp);
  return linimo_checksum_covers(flow.protocol, flow.fragment != Fragment::kNone, flow.on_its_way,
                                udp.checksum, swap16(udp.length), flow.ip_length - flow.l4_offset) != 0;
}

/// The sum of the addresses, the length and the protocol that a transport checksum covers too (RFC
/// 8200, 8.1).
uint64_t pseudo_header(const uint8_t* ip, bool v6, uint32_t length, uint8_t protocol) {
  const uint64_t rest = linimo_checksum_pseudo(protocol, length);
  return v6 ? checksum_add(ip + offsetof(Ipv6, source), 32, rest)
            : checksum_add(ip + offsetof(Ipv4, source), 8, rest);
}

}  // namespace

Tunnel make_tunnel(linimo_encapsulation encapsulation, const TunnelEnds& ends, uint16_t gue_port) {
  Tunnel tunnel{};
  tunnel.encapsulation = encapsulation;
  tunnel.outer_v6 = !ends.destination.is_v4();
  tunnel.gue_port = swap16(gue_port);
  tunnel.header_length = linimo_tunnel_overhead(encapsulation, tunnel.outer_v6);
  tunnel.source_prefix = static_cast<uint8_t>(ends.source_prefix);
  if (tunnel.outer_v6) {
    std::memcpy(tunnel.addresses, ends.source.bytes.data(), 16);
    std::memcpy(tunnel.addresses + 16, ends.destination.bytes.data(), 16);
    put_source_bits(tunnel.addresses, tunnel.open_bits(), 0);
  } else {
    Ipv4 ip{};
    ip.source = ends.source.v4_network_order() & ~swap32(static_cast<uint32_t>(tunnel.open_bits()));
    ip.destination = ends.destination.v4_network_order();
    tunnel.checksum_base = checksum_fold(checksum_add(&ip, sizeof ip));
    std::memcpy(tunnel.addresses, reinterpret_cast<const uint8_t*>(&ip) + offsetof(Ipv4, source), 8);
  }
  return tunnel;
}

void encapsulate(const Tunnel& tunnel, Inner inner, uint64_t hash, uint8_t* outer) {
  if (tunnel.encapsulation == LINIMO_ENCAP_IPIP) return put_ip(tunnel, inner, hash, outer);
  const uint32_t next = linimo_tunnel_protocol(tunnel.encapsulation, inner.v6);
  const uint32_t total = inner.length + tunnel.header_length;
  uint8_t* behind;
  if (tunnel.outer_v6) {
    put_ipv6(tunnel, inner, next, total - sizeof(Ipv6), hash, outer);
    behind = outer + sizeof(Ipv6);
  } else {
    inner.v6 ? put_ipv4<true>(tunnel, inner, next, total, hash, outer)
             : put_ipv4<false>(tunnel, inner, next, total, hash, outer);
    behind = outer + sizeof(Ipv4);
  }
  if (tunnel.encapsulation == LINIMO_ENCAP_GRE) {
    store32(behind, linimo_gre_header(inner.v6));
  } else {
    const linimo_gue header = linimo_gue_header(tunnel.gue_port, inner.length, hash);
    std::memcpy(behind, &header, sizeof header);
  }
}

void forbid_fragments(uint8_t* outer) {
  auto& ip = *reinterpret_cast<Ipv4*>(outer);
  ip.id = 0;
  ip.fragment = kDontFragment;
  ip.checksum = 0;
  ip.checksum = checksum_finish(checksum_add(&ip, sizeof ip));
}

// A packet whose own checksum is right sums up, from its transport header on, to the complement of its pseudo
// header's sum, so that only its IP header needs to be read (local checksum offload). 0 is no checksum over
// IPv6 (RFC 8200, 8.1).
void put_checksum(const Frame& inner, const Flow& flow, uint8_t* outer) {
  auto& udp = *reinterpret_cast<Udp*>(outer + sizeof(Ipv6));
  uint64_t sum = pseudo_header(outer, true, sizeof(Udp) + flow.ip_length, kUdp);
  udp.checksum = 0;
  sum = checksum_add(&udp, sizeof(Udp), sum);
  if (checksum_covers(inner, flow)) {
    const uint32_t l4_length = flow.ip_length - flow.l4_offset;
    sum = checksum_add(inner.ip, flow.l4_offset, sum);
    sum += checksum_finish(pseudo_header(inner.ip, inner.is_v6, l4_length, flow.protocol));
  } else {
    sum = checksum_add(inner.ip, flow.ip_length, sum);
  }
  udp.checksum = linimo_checksum_never_zero(checksum_finish(sum));
}

}  // namespace linimo::packet
