// The life of a packet, top to bottom.

#include "dataplane/forward/pipeline.h"

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "dataplane/packet/plain.h"
#include "maglev/hash.h"

#define LINIMO_INLINE __attribute__((always_inline)) inline

namespace linimo {

using packet::Verdict;

namespace {

AddressWords source_of(const packet::Frame& frame) {
  return frame.is_v6 ? AddressWords::v6(frame.v6().source) : AddressWords::v4(frame.v4().source);
}

}  // namespace

Pipeline::Pipeline(std::span<const Mac> port_macs, const NextHopTable& next_hops, std::span<FlowState> flows,
                   uint32_t own, WorkerCounters& counters)
    : port_macs_(port_macs),
      next_hops_(next_hops),
      all_flows_(flows),
      own_(own),
      connections_(flows[own].connections),
      fragments_(flows[own].fragments),
      counters_(counters),
      scheduler_(connections_) {}

// Each stage runs over the whole burst and asks the memory for what the next will read, so that the misses of
// up to 64 packets overlap instead of following one another.
void Pipeline::run(std::span<rte_mbuf* const> burst, uint32_t in_port, const Generation* live,
                   uint64_t now_ms, BurstOutput& out) {
  in_port_ = in_port;
  now_ms_ = now_ms;
  for (rte_mbuf* mbuf : burst) rte_prefetch0(rte_pktmbuf_mtod(mbuf, void*));
  if (live == nullptr) {
    for (rte_mbuf* mbuf : burst) to_kernel(mbuf, out);
    return;
  }
  const Generation& generation = *live;

  uint32_t admitted = 0;
  for (rte_mbuf* mbuf : burst) {
    Packet& packet = packets_[admitted];
    if (admit(mbuf, generation, packet, out)) ++admitted;
  }

  const auto now_s = static_cast<uint32_t>(now_ms / 1000);
  uint32_t chosen = 0;
  for (uint32_t i = 0; i < admitted; ++i) {
    if (packets_[i].target == nullptr && !choose(generation, now_s, packets_[i], out)) continue;
    if (chosen != i) packets_[chosen] = packets_[i];
    ++chosen;
  }

  for (uint32_t i = 0; i < chosen; ++i) send(generation, packets_[i], out);
}

// Whose is it? Nearly every packet is recognized by a few words of it; all others are judged.
LINIMO_INLINE bool Pipeline::admit(rte_mbuf* mbuf, const Generation& generation, Packet& packet,
                                   BurstOutput& out) {
  packet.mbuf = mbuf;
  packet.target = nullptr;
  packet.sent_as = LINIMO_OUTCOME_forwarded;
  const auto* bytes = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const packet::Plain kind = packet::plain_kind(bytes, rte_pktmbuf_data_len(mbuf));
  bool recognized = false;
  if (kind == packet::Plain::kIpv4) [[likely]] {
    recognized = recognize<false>(generation, bytes, packet);
  } else if (kind == packet::Plain::kIpv6) {
    recognized = recognize<true>(generation, bytes, packet);
  }
  if (!recognized) [[unlikely]]
    return judge(generation, packet, out);
  // Where the outer header will be. Not asked for before: the frames themselves are waited for.
  __builtin_prefetch(bytes - RTE_CACHE_LINE_SIZE, 1);
  return true;
}

template <bool kV6>
inline bool Pipeline::recognize(const Generation& generation, const uint8_t* bytes, Packet& packet) {
  const uint64_t nic = packet.mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  if (nic == RTE_MBUF_F_RX_IP_CKSUM_BAD) [[unlikely]]
    return false;
  constexpr auto kKind = kV6 ? packet::Plain::kIpv6 : packet::Plain::kIpv4;
  if (!packet::read_plain<kKind>(bytes, rte_pktmbuf_data_len(packet.mbuf), nic == RTE_MBUF_F_RX_IP_CKSUM_GOOD,
                                 packet.frame, packet.flow)) [[unlikely]]
    return false;
  packet.service = generation.service_of_plain<kV6>(packet.frame, packet.flow);
  if (packet.service == nullptr || packet.service->source_count != 0) return false;
  packet.service_id = packet.service->tracking_key.id;
  hash_flow<kV6>(generation, packet);
  return true;
}

// Is it for a VIP? Only then may it be judged; then, is it sound, and whose is it?
__attribute__((noinline)) bool Pipeline::judge(const Generation& generation, Packet& packet,
                                               BurstOutput& out) {
  rte_mbuf* mbuf = packet.mbuf;
  const auto* bytes = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  if (!packet::locate(bytes, rte_pktmbuf_data_len(mbuf), packet.frame)) return to_kernel(mbuf, out);

  const packet::Frame& frame = packet.frame;
  const bool v6 = frame.is_v6;
  const AddressWords destination =
      v6 ? AddressWords::v6(frame.v6().destination) : AddressWords::v4(frame.v4().destination);
  if (v6 && destination.is_v4())
    return to_kernel(mbuf, out);  // ::ffff:a.b.c.d on the wire is no VIP's address
  const uint32_t vip = generation.vips().find(destination);
  if (vip == VipTable::kNone) return to_kernel(mbuf, out);

  const uint64_t nic = mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  if (!v6 && nic == RTE_MBUF_F_RX_IP_CKSUM_BAD) return drop(mbuf, LINIMO_OUTCOME_bad_checksum);
  const Verdict verdict = packet::judge(frame, nic == RTE_MBUF_F_RX_IP_CKSUM_GOOD, packet.flow);
  switch (verdict) {
    case Verdict::kFlow:
    case Verdict::kIcmp:
    case Verdict::kLaterFragment:
      break;
    case Verdict::kMalformed:
      return drop(mbuf, LINIMO_OUTCOME_malformed);
    case Verdict::kBadChecksum:
      return drop(mbuf, LINIMO_OUTCOME_bad_checksum);
    case Verdict::kMartian:
      return drop(mbuf, LINIMO_OUTCOME_martian);
    case Verdict::kOther:
      packet.flow.destination_port = 0;
      break;
  }

  if (generation.vips().find(source_of(frame)) != VipTable::kNone) return drop(mbuf, LINIMO_OUTCOME_martian);
  if (verdict == Verdict::kIcmp) [[unlikely]]
    return take_icmp(generation, vip, packet, out);
  if (verdict == Verdict::kLaterFragment) [[unlikely]]
    return take_later_fragment(generation, packet);
  packet.service =
      generation.service(vip, packet.flow.protocol, packet::swap16(packet.flow.destination_port));
  if (packet.service == nullptr) {
    // The host may have the address too. If it has not, its kernel would route the packet back: a loop.
    if (generation.is_host_address(destination)) return to_kernel(mbuf, out);
    return drop(mbuf, LINIMO_OUTCOME_no_service);
  }
  if (!generation.allows(*packet.service, source_of(frame))) return drop(mbuf, LINIMO_OUTCOME_not_allowed);
  packet.service_id = packet.service->tracking_key.id;
  v6 ? hash_flow<true>(generation, packet) : hash_flow<false>(generation, packet);
  return true;
}

template <bool kV6>
inline void Pipeline::hash_flow(const Generation& generation, Packet& packet) {
  const packet::Flow& flow = packet.flow;
  const bool whole = !packet.service->source_hash;
  // The key is put together in registers: what is stored in pieces cannot be loaded as words for a while.
  const uint64_t rest = !whole ? 0
                               : uint64_t{flow.source_port} | uint64_t{flow.destination_port} << 16 |
                                     uint64_t{flow.protocol} << 32;
  if constexpr (kV6) {
    uint64_t addresses[4];
    std::memcpy(addresses, packet.frame.ip + offsetof(packet::Ipv6, source), sizeof addresses);
    if (!whole) addresses[2] = addresses[3] = 0;
    packet.hash = flow_hash6(addresses, rest, generation.seed());
  } else {
    uint64_t addresses;
    std::memcpy(&addresses, packet.frame.ip + offsetof(packet::Ipv4, source), sizeof addresses);
    packet.hash = flow_hash4(whole ? addresses : addresses & 0xffffffff, rest, generation.seed());
  }
  find_slot(packet);
  if (packet.tracked) connections_.prefetch(packet.hash);
  rte_prefetch0(packet.service->slots + packet.slot);
}

// Where an adaptive service's slot is settled, the table is all the memory that it needs.
void Pipeline::find_slot(Packet& packet) {
  const ServiceView& service = *packet.service;
  packet.slot = slot_of(packet.hash, service.table_size);
  packet.tracked =
      service.tracked || (service.unsettled != nullptr && service.unsettled->contains(packet.slot));
}

// Where a flow that is not tracked goes, or null. While a slot learns, one that does not begin now is older
// than the slot's change and belongs to the backend before it.
const Target* Pipeline::target_of_slot(const Packet& packet, bool begins, uint32_t now_s) const {
  const ServiceView& service = *packet.service;
  if (service.unsettled != nullptr && packet.tracked && !begins) {
    const uint16_t base = service.unsettled->base(packet.slot, now_s);
    if (base != LINIMO_NO_BACKEND && service.targets[base].alive) return service.targets + base;
  }
  const linimo_slot slot = service.slots[packet.slot];
  return slot == LINIMO_NO_BACKEND ? nullptr : service.targets + slot;
}

// The backend: the table's, unless the packet names one, or the flow may have another.
LINIMO_INLINE bool Pipeline::choose(const Generation& generation, uint32_t now_s, Packet& packet,
                                    BurstOutput& out) {
  const ServiceView& service = *packet.service;
  if (packet.tracked || service.server_id_length != 0) return recall(generation, now_s, packet, out);
  const linimo_slot slot = service.slots[packet.slot];
  if (slot == LINIMO_NO_BACKEND) return no_backend(generation, packet, out);
  packet.target = service.targets + slot;
  rte_prefetch0(packet.target);
  if (packet.flow.fragment == packet::Fragment::kFirst) [[unlikely]]
    remember_datagram(generation, packet);
  return true;
}

// The backend that the packet names, else the one that the flow is tracked to, while they live, else the
// table's.
bool Pipeline::recall(const Generation& generation, uint32_t now_s, Packet& packet, BurstOutput& out) {
  const ServiceView& service = *packet.service;
  if (service.server_id_length != 0) packet.target = named_target(generation, packet);
  const bool named = packet.target != nullptr;
  const bool rst = packet.flow.tcp_flags & packet::kTcpRst;
  ConnectionTable::Entry entry = nullptr;
  bool follows = false;  // the entry says where it goes
  if (packet.tracked) {
    entry = connections_.find(packet.hash, service.tracking_key, now_s);
    const Target* tracked =
        entry != nullptr ? generation.target_of(ConnectionTable::backend_id(entry)) : nullptr;
    if (tracked != nullptr && tracked->pool == service.pool && tracked->alive &&
        (packet.target == nullptr || packet.target == tracked)) {
      packet.target = tracked;
      follows = true;
      // RST only looks up: a forged one must not be able to shorten or lengthen anything.
      if (!rst) {
        const bool fin = packet.flow.tcp_flags & packet::kTcpFin;
        connections_.touch(entry, fin ? ConnectionTable::Packet::kFin : ConnectionTable::Packet::kOther,
                           now_s);
      }
    }
  }

  if (!follows) {
    if (packet.target == nullptr) {
      const bool begins = (packet.flow.tcp_flags & (packet::kTcpSyn | packet::kTcpAck)) == packet::kTcpSyn;
      packet.target = target_of_slot(packet, begins, now_s);
      if (packet.target == nullptr) return no_backend(generation, packet, out);
    }
    if (entry != nullptr) {
      connections_.redirect(entry, packet.target->backend_id);
    } else if (packet.tracked && !rst) {
      // No room is no reason to drop: the flow's next packet will take the same slot.
      const Target* target =
          service.schedule == nullptr || named ? packet.target : scheduled(generation, packet);
      if (connections_.insert(packet.hash, service.tracking_key, target->backend_id, now_s)) {
        packet.target = target;
        count(counters_.services[service.tracking_key.id].new_flows);
        count(counters_.backends[packet.target->backend_id].new_flows);
      } else {
        count(counters_.flows_unstored);
      }
    }
  }
  if (service.unsettled != nullptr && packet.tracked && !named &&
      packet.target - service.targets != service.slots[packet.slot])
    service.unsettled->deviated(own_, packet.slot, now_s);
  rte_prefetch0(packet.target);
  if (packet.flow.fragment == packet::Fragment::kFirst) [[unlikely]]
    remember_datagram(generation, packet);
  return true;
}

// Into the tunnel and onto the wire.
LINIMO_INLINE void Pipeline::send(const Generation& generation, const Packet& packet, BurstOutput& out) {
  rte_mbuf* mbuf = packet.mbuf;
  const Target& target = *packet.target;
  const NextHopTable::Raw hop = next_hops_.load(target.backend_id);
  if (hop.state() != NextHop::kResolved) [[unlikely]]
    return undeliverable(mbuf, hop.state());
  const uint32_t outer_length = uint32_t{packet.flow.ip_length} + target.tunnel.header_length;
  if (outer_length > hop.mtu()) [[unlikely]]
    return too_big(generation, packet, hop.mtu(), out);

  // The frame becomes: Ethernet, outer header, inner packet; old link header and padding go.
  uint8_t* const outer = const_cast<uint8_t*>(packet.frame.ip) - target.tunnel.header_length;
  packet::encapsulate(target.tunnel, packet.frame, packet.flow, packet.hash, outer);
  const uint64_t tags = hop.tags();
  const uint32_t tags_length = tags == 0 ? 0 : hop.tags_length();
  uint8_t* const frame = outer - sizeof(packet::Ethernet) - tags_length;
  const uint64_t mac = hop.mac();
  std::memcpy(frame, &mac, sizeof mac);  // and two bytes that the next line overwrites
  std::memcpy(frame + 6, port_macs_[hop.port()].data(), 6);
  if (tags_length != 0) [[unlikely]]
    std::memcpy(frame + 12, &tags, tags_length);
  const uint16_t type = target.tunnel.outer_v6 ? packet::kTypeIpv6 : packet::kTypeIpv4;
  std::memcpy(outer - sizeof type, &type, sizeof type);
  mbuf->data_off = static_cast<uint16_t>(frame - static_cast<uint8_t*>(mbuf->buf_addr));
  mbuf->data_len = static_cast<uint16_t>(outer - frame + outer_length);
  mbuf->pkt_len = mbuf->data_len;
  mbuf->ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;  // what receiving said is no order for sending

  TrafficCount& by_service = counters_.services[packet.service_id];
  TrafficCount& by_backend = counters_.backends[target.backend_id];
  count(by_service.packets);
  count(by_service.bytes, packet.flow.ip_length);
  count(by_backend.packets);
  count(by_backend.bytes, packet.flow.ip_length);
  out.transmit[hop.port()].push(mbuf, packet.sent_as);
}

__attribute__((noinline, cold)) void Pipeline::undeliverable(rte_mbuf* mbuf, NextHop::State why) {
  drop(mbuf, why == NextHop::kNoRoute       ? LINIMO_OUTCOME_no_route
             : why == NextHop::kWrongEgress ? LINIMO_OUTCOME_wrong_egress
                                            : LINIMO_OUTCOME_no_nexthop);
}

bool Pipeline::drop(rte_mbuf* mbuf, linimo_outcome reason) {
  count(counters_.outcomes[reason]);
  rte_pktmbuf_free(mbuf);
  return false;
}

bool Pipeline::to_kernel(rte_mbuf* mbuf, BurstOutput& out) {
  const bool control = packet::is_control(rte_pktmbuf_mtod(mbuf, const uint8_t*), rte_pktmbuf_data_len(mbuf));
  (control ? out.control : out.kernel).push(mbuf);
  return false;
}

}  // namespace linimo
