#include "tests/packets/tunnel_check.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace linimo::tests {
namespace {

constexpr size_t kEthernet = 14;
constexpr uint8_t kIpv4InIp = 4, kIpv6InIp = 41, kGre = 47, kUdp = 17;

uint16_t be16(ByteView bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

bool checksum_right(ByteView header) {
  uint32_t sum = 0;
  for (size_t i = 0; i < header.size(); i += 2) sum += be16(header, i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

/// Where the EtherType behind at most two tags lies, and what it is.
std::pair<size_t, uint16_t> ether_type(ByteView frame) {
  size_t at = 12;
  for (int tags = 0; tags < 2 && frame.size() >= at + 6; ++tags) {
    if (be16(frame, at) != 0x8100 && be16(frame, at) != 0x88a8) break;
    at += 4;
  }
  return {at, be16(frame, at)};
}

/// The IP packet in a frame, by its own lengths; nothing if they do not fit.
std::optional<ByteView> ip_packet(ByteView frame) {
  const auto [at, type] = ether_type(frame);
  const ByteView ip = frame.subspan(at + 2);
  const bool v6 = type == 0x86dd;
  if ((!v6 && type != 0x0800) || ip.size() < (v6 ? 40 : 20)) return std::nullopt;
  const size_t length = v6 ? 40 + be16(ip, 4) : be16(ip, 2);
  if (length > ip.size() || length < (v6 ? 40 : 20)) return std::nullopt;
  return ip.first(length);
}

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

std::string fault_of_outer_v4(ByteView outer, ByteView inner) {
  const bool keep_whole = inner[0] >> 4 == 6 || (inner[6] & 0x40) != 0;
  if (outer[0] != 0x45) return "outer header has options, or is not IPv4";
  if (be16(outer, 2) != outer.size()) return "outer total length is wrong";
  if (!checksum_right(outer.first(20))) return "outer checksum is wrong";
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
  const ByteView out = sent.bytes;
  const auto inner = ip_packet(frame_in);
  if (!inner) return "a frame was sent on whose IP lengths do not fit";
  if (out.size() < kEthernet + 40) return "too short for a tunnel";
  const auto [type_at, outer_type] = ether_type(out);
  const bool outer_v6 = outer_type == 0x86dd;
  if (!outer_v6 && outer_type != 0x0800) return "EtherType is not IP";
  const ByteView outer = out.subspan(type_at + 2);
  const size_t header = outer_v6 ? 40 : 20;

  if (traffic_class(outer) != traffic_class(*inner)) return "traffic class was not copied";
  if (std::string fault = outer_v6 ? fault_of_outer_v6(outer) : fault_of_outer_v4(outer, *inner);
      !fault.empty()) {
    return fault;
  }
  const SnapshotSpec& snapshot = configuration.snapshot;
  const Address source = address_at(outer, outer_v6 ? 8 : 12, outer_v6);
  if (source != (outer_v6 ? snapshot.encap_source6 : snapshot.encap_source4)) return "outer source is wrong";
  const Address destination = address_at(outer, outer_v6 ? 24 : 16, outer_v6);
  const auto way = way_to(destination, configuration);
  if (!way) return destination.to_string() + " is no backend";
  if (way->backend->state == LINIMO_BACKEND_DOWN) return "sent to a backend that is down";
  if (way->hop->state != NextHop::kResolved || way->hop->port != sent.port) return "sent by the wrong port";
  if (!std::equal(way->hop->mac.begin(), way->hop->mac.end(), out.begin())) return "wrong destination MAC";
  const Mac& own = configuration.port_macs[sent.port];
  if (!std::equal(own.begin(), own.end(), out.begin() + 6)) return "source MAC is not the port's";
  if (outer.size() > way->hop->mtu) return "longer than the egress MTU";

  const bool inner_v6 = (*inner)[0] >> 4 == 6;
  const bool gre = way->pool->encapsulation == LINIMO_ENCAP_GRE;
  const bool gue = way->pool->encapsulation == LINIMO_ENCAP_GUE;
  const uint8_t protocol = gre ? kGre : gue ? kUdp : inner_v6 ? kIpv6InIp : kIpv4InIp;
  if (outer[outer_v6 ? 6 : 9] != protocol) return "outer protocol is wrong";
  if (gre && (be16(outer, header) != 0 || be16(outer, header + 2) != (inner_v6 ? 0x86dd : 0x0800))) {
    return "GRE header is wrong";
  }
  if (gue) {
    if (be16(outer, header) < 49152) return "GUE's source port is not of the dynamic range";
    if (be16(outer, header + 2) != way->pool->gue_port) return "GUE's destination port is wrong";
    if (be16(outer, header + 4) != outer.size() - header) return "GUE's length is wrong";
    if ((be16(outer, header + 6) == 0) == outer_v6) return "GUE has a checksum over IPv4, or none over IPv6";
  }
  const ByteView carried = outer.subspan(header + (gre ? 4 : gue ? 8 : 0));
  if (!std::equal(carried.begin(), carried.end(), inner->begin(), inner->end())) {
    return "the inner packet is not the one that came in";
  }
  return "";
}

}  // namespace linimo::tests
