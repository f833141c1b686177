// Fragments between the nodes of a fleet: maglev/rules/passing.h says which of them handles a datagram's.

#include "maglev/rules/passing.h"

#include <rte_mbuf.h>

#include "dataplane/forward/frame_addresses.h"
#include "dataplane/forward/pipeline.h"
#include "dataplane/packet/checksum.h"

#define LINIMO_COLD __attribute__((noinline, cold))

namespace linimo {
namespace {

/// What lies in a tunnel from node to node.
struct Inside {
  uint32_t at = 0;  // bytes from the outer IP header to the inner one; 0: it is no such tunnel
  bool v6 = false;
  AddressWords destination;
};

Inside inside_of(const packet::Frame& frame) {
  if (frame.is_v6) {
    if (!linimo_may_be_passed6(packet::load32(frame.ip + 4), frame.available)) return {};
  } else {
    if (!linimo_may_be_passed4(packet::load32(frame.ip), packet::load32(frame.ip + 4),
                               packet::load32(frame.ip + 8), frame.available) ||
        !packet::checksum_holds(frame.ip, sizeof(packet::Ipv4)))
      return {};
  }
  const uint32_t gre_at = frame.is_v6 ? sizeof(packet::Ipv6) : sizeof(packet::Ipv4);
  const uint32_t gre = packet::load32(frame.ip + gre_at);
  Inside inside{.at = gre_at + LINIMO_GRE_HEADER, .v6 = gre == linimo_gre_header(1), .destination = {}};
  if (!inside.v6 && gre != linimo_gre_header(0)) return {};
  const uint32_t header = inside.v6 ? sizeof(packet::Ipv6) : sizeof(packet::Ipv4);
  if (inside.at + header > frame.available) return {};
  const uint8_t* end = frame.ip + inside.at + header;  // the destination comes last
  inside.destination = inside.v6 ? AddressWords::v6(end - 16) : AddressWords::v4(packet::load32(end - 4));
  return inside;
}

}  // namespace

// To the node that handles the datagram's fragments, if that is another. Who has no way to it that takes the
// fragment does what it can.
LINIMO_COLD bool Pipeline::pass_on(const Generation& generation, Packet& packet) const {
  const ServiceView& nodes = generation.other_nodes();
  if (packet.passed || nodes.slots == nullptr) return false;
  const uint64_t hash =
      hash_of(packet.frame, linimo_handler_key_end(packet.v6, packet.flow.protocol), generation.seed());
  const linimo_slot slot = nodes.slots[slot_of(hash, nodes.table_size)];
  if (slot == LINIMO_NO_BACKEND) return false;
  const Target& node = nodes.targets[slot];
  const NextHopTable::Raw hop = next_hops_.load(node.backend_id);
  if (hop.state() != NextHop::kResolved || uint32_t{packet.ip_length} + node.tunnel.header_length > hop.mtu())
    return false;
  packet.service = &nodes;
  packet.target = &node;
  packet.hash = hash;
  packet.decider = Decider::kNobody;
  packet.sent_as = LINIMO_OUTCOME_fragment_passed;
  LINIMO_TELL(told_.hash = hash; told_.decider = LINIMO_TRACE_BY_HANDLER;)
  return true;
}

// What another node has passed on becomes what it was. What else comes through a tunnel between nodes is the
// kernel's.
LINIMO_COLD bool Pipeline::take_off_tunnel(const Generation& generation, Packet& packet) const {
  if (packet.passed || generation.other_nodes().slots == nullptr) return false;
  rte_mbuf* mbuf = packet.mbuf;
  auto* bytes = rte_pktmbuf_mtod(mbuf, uint8_t*);
  packet::Frame& frame = packet.frame;
  if (!packet::locate(bytes, rte_pktmbuf_data_len(mbuf), frame) ||
      !linimo_is_addressed_to(packet::load64(bytes), in_mac_))
    return false;
  const Inside inside = inside_of(frame);
  // ::ffff:a.b.c.d on the wire is nobody.
  if (inside.at == 0 || (frame.is_v6 && (source_of(frame).is_v4() || destination_of(frame).is_v4())) ||
      (inside.v6 && inside.destination.is_v4()) || !generation.is_tunnel_end(destination_of(frame)) ||
      !generation.is_other_node(source_of(frame)) ||
      generation.vips().find(inside.destination) == VipTable::kNone)
    return false;
  const auto taken = static_cast<uint16_t>(frame.ip_offset + inside.at - sizeof(packet::Ethernet));
  auto* ethernet = reinterpret_cast<packet::Ethernet*>(bytes + taken);
  std::memcpy(ethernet, bytes, offsetof(packet::Ethernet, type));
  ethernet->type = inside.v6 ? packet::kTypeIpv6 : packet::kTypeIpv4;
  rte_pktmbuf_adj(mbuf, taken);
  mbuf->ol_flags &= ~RTE_MBUF_F_RX_IP_CKSUM_MASK;  // that was of the outer header
  packet.passed = true;
  LINIMO_TELL(told_.passed = 1;)
  return true;
}

}  // namespace linimo
