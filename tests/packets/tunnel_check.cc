#include "tests/packets/tunnel_check.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "tests/packets/fragments_check.h"
#include "tests/packets/wire.h"

namespace linimo::tests {
namespace {

constexpr uint8_t kIpv4InIp = 4, kTcp = 6, kUdp = 17, kIpv6InIp = 41, kGre = 47;

struct Way {
  const BackendSpec* backend;
  const PoolSpec* pool;
  const NextHop* hop;
};

std::optional<Way> way_to(const Address& address, const Configuration& configuration) {
  for (const PoolSpec& pool : configuration.snapshot.pools) {
    for (const BackendSpec& backend : pool.backends) {
      if (backend.address != address) continue;
      for (const auto& [id, hop] : configuration.next_hops) {
        if (id == backend.id) return Way{&backend, &pool, &hop};
      }
    }
  }
  return std::nullopt;
}

Address address_at(ByteView bytes, size_t at, bool v6) {
  Address address;
  if (!v6) {
    address.bytes[10] = address.bytes[11] = 0xff;
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), 4, address.bytes.begin() + 12);
  } else {
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(at), 16, address.bytes.begin());
  }
  return address;
}

uint8_t traffic_class(ByteView ip) {
  return ip[0] >> 4 == 4 ? ip[1] : static_cast<uint8_t>(be16(ip, 0) >> 4);
}

std::string fault_of_tags(ByteView out, const NextHop& hop) {
  size_t at = 12;
  for (const VlanTag& tag : hop.tags) {
    if (tag.tpid == 0) continue;
    if (be16(out, at) != tag.tpid || be16(out, at + 2) != tag.control) return "not the tags of the route";
    at += 4;
  }
  return type_at(out) == at ? "" : "more tags than the route has";
}

/// The node's own source, but for what lies behind the prefix.
bool is_source(const Address& source, const Address& own, uint32_t prefix) {
  for (uint32_t bit = 0; bit < prefix; ++bit) {
    if ((source.bytes[bit / 8] ^ own.bytes[bit / 8]) >> (7 - bit % 8) & 1) return false;
  }
  return true;
}

/// Does a checksum of the packet's own cover all behind its headers, and is it wrong? Then one that was made
/// from it, taking it as right, is as wrong.
bool has_wrong_checksum(ByteView inner) {
  const auto payload = payload_of(inner);
  if (!payload || payload->fragment || payload->other_receiver) return false;
  const ByteView l4 = inner.subspan(payload->at);
  const bool covers = payload->protocol == kTcp ||
                      (payload->protocol == kUdp && be16(l4, 6) != 0 && be16(l4, 4) == l4.size());
  return covers && !is_right(pseudo_sum(inner, l4.size(), payload->protocol) + sum_of(l4));
}

std::string fault_of_gue(ByteView outer, size_t header, uint16_t port, ByteView inner) {
  const ByteView udp = outer.subspan(header);
  if (be16(udp, 0) < 49152) return "GUE source port is no ephemeral one";
  if (be16(udp, 2) != port) return "GUE destination port is wrong";
  if (be16(udp, 4) != udp.size()) return "GUE length is wrong";
  if (header == 20) return be16(udp, 6) == 0 ? "" : "GUE checksum over IPv4";
  if (be16(udp, 6) == 0) return "no GUE checksum over IPv6";
  if (has_wrong_checksum(inner)) return "";
  return is_right(pseudo_sum(outer, udp.size(), kUdp) + sum_of(udp)) ? "" : "GUE checksum is wrong";
}

std::string fault_of_outer_v4(ByteView outer, ByteView inner) {
  const bool keep_whole = inner[0] >> 4 == 6 || (inner[6] & 0x40) != 0;
  if (outer[0] != 0x45) return "outer header has options, or is not IPv4";
  if (be16(outer, 2) != outer.size()) return "outer total length is wrong";
  if (!is_right(sum_of(outer.first(20)))) return "outer checksum is wrong";
  if (outer[8] != 64) return "outer TTL is not 64";
  if (be16(outer, 6) != (keep_whole ? 0x4000 : 0)) return "outer fragment field is wrong";
  if (be16(outer, 4) != (keep_whole ? 0 : be16(inner, 4))) return "outer identification is wrong";
  return "";
}

std::string fault_of_outer_v6(ByteView outer) {
  if (outer[0] >> 4 != 6) return "outer header is not IPv6";
  if (be16(outer, 4) != outer.size() - 40) return "outer payload length is wrong";
  if (outer[7] != 64) return "outer hop limit is not 64";
  return "";
}

}  // namespace

std::string fault_of_tunnel(ByteView frame_in, const Left& sent, const Configuration& configuration) {
  const bool in_fragments = !sent.more.empty();
  std::optional<Bytes> whole = in_fragments ? reassembled(sent) : sent.bytes;
  if (!whole) return "fragments that do not make a whole";
  const ByteView out = *whole;
  const auto inner = ip_packet(frame_in);
  if (!inner) return "a frame was sent on whose IP lengths do not fit";
  const size_t type = type_at(out);
  if (out.size() < type + 42) return "too short for a tunnel";
  const bool outer_v6 = be16(out, type) == kTypeIpv6;
  if (!outer_v6 && be16(out, type) != kTypeIpv4) return "EtherType is not IP";
  const ByteView outer = out.subspan(type + 2);
  const size_t header = outer_v6 ? 40 : 20;

  if (traffic_class(outer) != traffic_class(*inner)) return "traffic class was not copied";
  if (std::string fault = outer_v6 ? fault_of_outer_v6(outer) : fault_of_outer_v4(outer, *inner);
      !fault.empty()) {
    return fault;
  }
  const SnapshotSpec& snapshot = configuration.snapshot;
  const Address source = address_at(outer, outer_v6 ? 8 : 12, outer_v6);
  if (!is_source(source, outer_v6 ? snapshot.encap_source6 : snapshot.encap_source4,
                 outer_v6 ? snapshot.encap_prefix6 : snapshot.encap_prefix4)) {
    return "outer source is wrong";
  }
  const Address destination = address_at(outer, outer_v6 ? 24 : 16, outer_v6);
  const auto way = way_to(destination, configuration);
  if (!way) return destination.to_string() + " is no backend";
  if (way->backend->state == LINIMO_BACKEND_DOWN) return "sent to a backend that is down";
  if (way->hop->state != NextHop::kResolved || way->hop->port != sent.port) return "sent by the wrong port";
  if (!std::equal(way->hop->mac.begin(), way->hop->mac.end(), out.begin())) return "wrong destination MAC";
  const Mac& own = configuration.port_macs[sent.port];
  if (!std::equal(own.begin(), own.end(), out.begin() + 6)) return "source MAC is not the port's";
  if (std::string fault = fault_of_tags(out, *way->hop); !fault.empty()) return fault;
  const bool inner_v6 = (*inner)[0] >> 4 == 6;
  if ((outer.size() > way->hop->mtu) != in_fragments) return "in fragments, or longer than the egress MTU";
  if (in_fragments && !(inner_v6 && inner->size() <= 1280))
    return "in fragments that its sender could have made";
  for (const Bytes& frame : sent.more) {
    if (std::max(sent.bytes.size(), frame.size()) - type - 2 > way->hop->mtu)
      return "a fragment that is longer than the egress MTU";
  }
  const linimo_encapsulation encapsulation = way->pool->encapsulation;
  const bool gre = encapsulation == LINIMO_ENCAP_GRE;
  const bool gue = encapsulation == LINIMO_ENCAP_GUE;
  const uint8_t protocol = gre ? kGre : gue ? kUdp : inner_v6 ? kIpv6InIp : kIpv4InIp;
  if (outer[outer_v6 ? 6 : 9] != protocol) return "outer protocol is wrong";
  if (gre && (be16(outer, header) != 0 || be16(outer, header + 2) != (inner_v6 ? kTypeIpv6 : kTypeIpv4))) {
    return "GRE header is wrong";
  }
  if (gue) {
    if (std::string fault = fault_of_gue(outer, header, way->pool->gue_port, *inner); !fault.empty())
      return fault;
  }
  const ByteView carried = outer.subspan(header + (gre ? 4 : gue ? 8 : 0));
  if (!std::equal(carried.begin(), carried.end(), inner->begin(), inner->end())) {
    return "the inner packet is not the one that came in";
  }
  return "";
}

}  // namespace linimo::tests
