#include "dataplane/packet/encapsulate.h"

#include <cstddef>

#include "dataplane/packet/checksum.h"

namespace linimo::packet {
namespace {

uint32_t length_behind_ip(linimo_encapsulation encapsulation) {
  return encapsulation == LINIMO_ENCAP_GRE   ? sizeof(Gre)
         : encapsulation == LINIMO_ENCAP_GUE ? sizeof(Udp)
                                             : 0;
}

/// Does the packet's own checksum cover all that lies behind its IP headers?
bool checksum_covers(const Frame& inner, const Flow& flow) {
  if (flow.fragment != Fragment::kNone) return false;
  if (flow.protocol == kUdp) {
    const auto& udp = *reinterpret_cast<const Udp*>(inner.ip + flow.l4_offset);
    if (udp.checksum == 0 || swap16(udp.length) != flow.ip_length - flow.l4_offset) return false;
  } else if (flow.protocol != kTcp) {
    return false;
  }
  return !is_on_its_way(inner, flow);
}

/// The sum of the addresses, the length and the protocol that a transport checksum covers too (RFC
/// 8200, 8.1).
uint64_t pseudo_header(const uint8_t* ip, bool v6, uint32_t length, uint8_t protocol) {
  const uint64_t rest = swap16(static_cast<uint16_t>(length)) + (uint64_t{protocol} << 8);
  return v6 ? checksum_add(ip + offsetof(Ipv6, source), 32, rest)
            : checksum_add(ip + offsetof(Ipv4, source), 8, rest);
}

/// The UDP checksum over IPv6, where it must not be 0 (RFC 8200, 8.1). A packet whose own checksum is right
/// sums up, from its transport header on, to the complement of its pseudo header's sum, so that only its IP
/// header needs to be read (local checksum offload).
__attribute__((noinline)) uint16_t udp_checksum(const Frame& inner, const Flow& flow, const uint8_t* outer) {
  const uint8_t* udp = outer + sizeof(Ipv6);
  const uint32_t length = sizeof(Udp) + flow.ip_length;
  uint64_t sum = pseudo_header(outer, true, length, kUdp);
  sum = checksum_add(udp, sizeof(Udp), sum);
  if (checksum_covers(inner, flow)) {
    const uint32_t l4_length = flow.ip_length - flow.l4_offset;
    sum = checksum_add(inner.ip, flow.l4_offset, sum);
    sum += checksum_finish(pseudo_header(inner.ip, inner.is_v6, l4_length, flow.protocol));
  } else {
    sum = checksum_add(inner.ip, flow.ip_length, sum);
  }
  const uint16_t checksum = checksum_finish(sum);
  return checksum == 0 ? 0xffff : checksum;
}

/// The low bits of the source address, those in `mask`, from the hash.
void put_source_bits(uint8_t* source, uint64_t mask, uint64_t hash) {
  uint64_t low;
  std::memcpy(&low, source + 8, 8);
  low = __builtin_bswap64((__builtin_bswap64(low) & ~mask) | (hash & mask));
  std::memcpy(source + 8, &low, 8);
}

void put_ipv6(const Tunnel& tunnel, const Frame& inner, uint32_t payload, uint64_t hash, uint8_t* outer) {
  const uint32_t first = swap32(6U << 28 | uint32_t{traffic_class(inner)} << 20 | (hash & 0xfffff));
  const uint64_t word = first | uint64_t{swap16(static_cast<uint16_t>(payload))} << 32 |
                        uint64_t{next_protocol(tunnel, inner)} << 48 | uint64_t{kTtl} << 56;
  std::memcpy(outer, &word, sizeof word);
  std::memcpy(outer + sizeof word, tunnel.addresses, sizeof tunnel.addresses);
  if (tunnel.hash_mask != 0) put_source_bits(outer + sizeof word, tunnel.hash_mask, hash);
}

}  // namespace

Tunnel make_tunnel(linimo_encapsulation encapsulation, const TunnelEnds& ends, uint16_t gue_port) {
  Tunnel tunnel{};
  tunnel.encapsulation = encapsulation;
  tunnel.outer_v6 = !ends.destination.is_v4();
  tunnel.gue_port = swap16(gue_port);
  const uint32_t ip_length = tunnel.outer_v6 ? sizeof(Ipv6) : sizeof(Ipv4);
  tunnel.header_length = static_cast<uint8_t>(ip_length + length_behind_ip(encapsulation));
  const uint32_t open_bits = 128 - ends.source_prefix;
  tunnel.hash_mask = open_bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << open_bits) - 1;
  if (tunnel.outer_v6) {
    std::memcpy(tunnel.addresses, ends.source.bytes.data(), 16);
    std::memcpy(tunnel.addresses + 16, ends.destination.bytes.data(), 16);
    put_source_bits(tunnel.addresses, tunnel.hash_mask, 0);
  } else {
    Ipv4 ip{};
    ip.version_ihl = 0x45;
    ip.ttl = kTtl;
    ip.source = ends.source.v4_network_order() & ~swap32(static_cast<uint32_t>(tunnel.hash_mask));
    ip.destination = ends.destination.v4_network_order();
    tunnel.checksum_base = checksum_fold(checksum_add(&ip, sizeof ip));
    std::memcpy(tunnel.addresses, reinterpret_cast<const uint8_t*>(&ip) + offsetof(Ipv4, source), 8);
  }
  return tunnel;
}

void put_headers(const Tunnel& tunnel, const Frame& inner, const Flow& flow, uint64_t flow_hash,
                 uint8_t* outer) {
  const uint32_t inner_length = flow.ip_length;
  uint32_t ip_length;
  if (tunnel.outer_v6) {
    ip_length = sizeof(Ipv6);
    put_ipv6(tunnel, inner, inner_length + tunnel.header_length - ip_length, flow_hash, outer);
  } else {
    ip_length = sizeof(Ipv4);
    put_ipv4(tunnel, inner, inner_length + tunnel.header_length, flow_hash, outer);
  }
  if (tunnel.encapsulation == LINIMO_ENCAP_IPIP) return;
  if (tunnel.encapsulation == LINIMO_ENCAP_GRE) {
    auto& gre = *reinterpret_cast<Gre*>(outer + ip_length);
    gre.flags_version = 0;
    gre.protocol = inner.is_v6 ? kTypeIpv6 : kTypeIpv4;
  } else {
    auto& udp = *reinterpret_cast<Udp*>(outer + ip_length);
    udp.source_port = swap16(static_cast<uint16_t>(kGueFirstPort | (flow_hash & 0x3fff)));
    udp.destination_port = tunnel.gue_port;
    udp.length = swap16(static_cast<uint16_t>(sizeof udp + inner_length));
    udp.checksum = 0;
    if (tunnel.outer_v6) udp.checksum = udp_checksum(inner, flow, outer);
  }
}

}  // namespace linimo::packet
