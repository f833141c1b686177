// The life of a packet, top to bottom.

#include "dataplane/forward/pipeline.h"

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "dataplane/forward/frame_addresses.h"
#include "dataplane/packet/outer_fragments.h"
#include "dataplane/packet/plain.h"
#include "maglev/hash.h"
#include "maglev/rules/adaptive.h"
#include "maglev/rules/choice.h"
#include "maglev/rules/reply.h"

#define LINIMO_INLINE __attribute__((always_inline)) inline

namespace linimo {

using packet::Verdict;

namespace {

packet::HeaderChecksum nics_verdict(const rte_mbuf& mbuf) {
  const uint64_t said = mbuf.ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  return said == RTE_MBUF_F_RX_IP_CKSUM_BAD    ? packet::HeaderChecksum::kBad
         : said == RTE_MBUF_F_RX_IP_CKSUM_GOOD ? packet::HeaderChecksum::kGood
                                               : packet::HeaderChecksum::kUnknown;
}

}  // namespace

Pipeline::Pipeline(const PortMacs& port_macs, const NextHopTable& next_hops, std::span<Flows> flows,
                   uint32_t own,
                   WorkerCounters& counters LINIMO_TELL(, const PipelineMemory& memory, linimo_trace& told))
    : port_macs_(port_macs),
      next_hops_(next_hops),
      all_flows_(flows),
      own_(own),
      connections_(flows[own].connections),
      fragments_(flows[own].fragments),
      counters_(counters),
      memory_(LINIMO_TELL(memory) LINIMO_UNTRACED(connections_)) LINIMO_TELL(, told_(told)) {}

// Each stage runs over the whole burst and asks the memory for what the next will read, so that the misses of
// up to 64 packets overlap instead of following one another.
void Pipeline::run(std::span<rte_mbuf* const> burst, uint32_t in_port, const Generation* live,
                   uint64_t now_ms, BurstOutput& out) {
  in_port_ = in_port;
  in_mac_ = port_macs_.load(in_port);
  now_ms_ = now_ms;
  const auto now_s = static_cast<uint32_t>(now_ms / 1000);
  LINIMO_UNTRACED(if (lanes_ != nullptr && live != nullptr) return run_in_lanes(burst, *live, now_s, out);)
  for (rte_mbuf* mbuf : burst) rte_prefetch0(rte_pktmbuf_mtod(mbuf, void*));
  if (long_headers_) {
    for (rte_mbuf* mbuf : burst) rte_prefetch0(rte_pktmbuf_mtod_offset(mbuf, void*, RTE_CACHE_LINE_SIZE));
  }
  if (live == nullptr) {
    for (rte_mbuf* mbuf : burst) to_kernel(mbuf, nullptr, out);
    return;
  }
  const Generation& generation = *live;

  Packet* admitted = packets_.data();
  long_headers_ = false;
  for (rte_mbuf* mbuf : burst) admitted += admit(mbuf, generation, *admitted, out) ? 1 : 0;

  bool all_chosen = true;
  for (Packet* packet = packets_.data(); packet != admitted; ++packet)
    all_chosen &= choose(generation, now_s, *packet);
  Packet* const chosen = all_chosen ? admitted : choose_rest(generation, now_s, admitted, out);

  for (Packet* packet = packets_.data(); packet != chosen; ++packet) send(generation, *packet, out);
}

// Whose is it? Nearly every packet is recognized by a few words of it; all others are judged, which of those
// says the same: a traced one always is.
LINIMO_INLINE bool Pipeline::admit(rte_mbuf* mbuf, const Generation& generation, Packet& packet,
                                   BurstOutput& out) {
  packet.mbuf = mbuf;
  packet.sent_as = LINIMO_OUTCOME_forwarded;
  const auto* bytes = rte_pktmbuf_mtod(mbuf, const uint8_t*);
  const packet::Plain kind = packet::plain_kind(bytes, rte_pktmbuf_data_len(mbuf));
  bool recognized = false;
  if (kTraced) {
    recognized = false;
  } else if (kind == packet::Plain::kIpv4) [[likely]] {
    recognized = recognize<false>(generation, bytes, packet);
  } else if (kind == packet::Plain::kIpv6) {
    long_headers_ = true;
    recognized = recognize<true>(generation, bytes, packet);
  }
  if (!recognized) [[unlikely]] {
    packet.passed = false;
    return judge(generation, packet, out);
  }
  // Where the outer header will be. Not asked for before: the frames themselves are waited for.
  __builtin_prefetch(bytes - RTE_CACHE_LINE_SIZE, 1);
  return true;
}

template <bool kV6>
LINIMO_INLINE bool Pipeline::recognize(const Generation& generation, const uint8_t* bytes, Packet& packet) {
  const uint64_t nic = packet.mbuf->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
  // One branch for what hardly ever is.
  const uint64_t odd = linimo_not_addressed_to(packet::load64(bytes), in_mac_) | (packet.mbuf->nb_segs ^ 1U);
  if (odd != 0 || nic == RTE_MBUF_F_RX_IP_CKSUM_BAD) [[unlikely]]
    return false;
  packet::PlainFlow flow;
  if (!packet::read_plain<kV6>(bytes, rte_pktmbuf_data_len(packet.mbuf), nic == RTE_MBUF_F_RX_IP_CKSUM_GOOD,
                               flow)) [[unlikely]]
    return false;
  packet.ip = bytes + sizeof(packet::Ethernet);
  packet.service =
      generation.service_of_plain<kV6>(packet.ip, static_cast<uint16_t>(flow.ports >> 16), flow.protocol);
  if (packet.service == nullptr) [[unlikely]]
    return false;
  packet.ip_length = static_cast<uint16_t>(flow.ip_length);
  packet.tcp_flags = flow.tcp_flags;
  packet.v6 = kV6;
  packet.judged = false;
  look_up<kV6>(generation, flow.ports, flow.protocol, packet);
  return true;
}

// The VIP that a frame is for, or VipTable::kNone. Where there is one, the IP header has been located.
uint32_t Pipeline::vip_of(const Generation& generation, const uint8_t* bytes, uint32_t length,
                          packet::Frame& frame) const {
  if (!packet::locate(bytes, length, frame)) return VipTable::kNone;
  LINIMO_TELL(told_.reached = LINIMO_TRACE_LOCATED;)
  if (!linimo_is_addressed_to(packet::load64(bytes), in_mac_)) return VipTable::kNone;
  LINIMO_TELL(told_.reached = LINIMO_TRACE_ADDRESSED;)
  const AddressWords destination = destination_of(frame);
  // ::ffff:a.b.c.d on the wire is no VIP's address.
  return frame.is_v6 && destination.is_v4() ? VipTable::kNone : generation.vips().find(destination);
}

// Is it for a VIP? Only then may it be judged; then, is it sound, and whose is it?
__attribute__((noinline)) bool Pipeline::judge(const Generation& generation, Packet& packet,
                                               BurstOutput& out) {
  if (packet.mbuf->nb_segs != 1 && !gather(generation, packet, out)) return false;
  rte_mbuf* mbuf = packet.mbuf;
  const uint32_t vip =
      vip_of(generation, rte_pktmbuf_mtod(mbuf, const uint8_t*), rte_pktmbuf_data_len(mbuf), packet.frame);
  if (vip == VipTable::kNone) {
    if (take_off_tunnel(generation, packet)) return judge(generation, packet, out);
    return to_kernel(mbuf, &generation, out);
  }
  LINIMO_TELL(told_.reached = LINIMO_TRACE_TO_VIP;
              told_.vip_bits = generation.snapshot().vips()[vip].prefix_length;)

  const packet::Frame& frame = packet.frame;
  const bool v6 = frame.is_v6;
  const Verdict verdict = packet::judge(frame, nics_verdict(*mbuf), packet.flow);
  packet.judged = true;
  packet.ip = frame.ip;
  packet.v6 = v6;
  packet.ip_length = packet.flow.ip_length;
  packet.tcp_flags = packet.flow.tcp_flags;
  LINIMO_TELL(told_.verdict = static_cast<uint32_t>(verdict); told_.inner_length = packet.ip_length;)
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
      LINIMO_TELL(told_.source = LINIMO_TRACE_SOURCE_MARTIAN;)
      return drop(mbuf, LINIMO_OUTCOME_martian);
    case Verdict::kOther:
      packet.flow.destination_port = 0;
      break;
  }

  if (generation.is_impostor(source_of(frame), v6)) {
    LINIMO_TELL(told_.source = LINIMO_TRACE_SOURCE_OWN;)
    return drop(mbuf, LINIMO_OUTCOME_martian);
  }
  LINIMO_TELL(told_.reached = LINIMO_TRACE_SOUND;)
  if (verdict == Verdict::kIcmp) [[unlikely]]
    return take_icmp(generation, vip, packet, out);
  if (verdict == Verdict::kLaterFragment) [[unlikely]]
    return take_later_fragment(generation, packet);
  packet.service =
      generation.service(vip, packet.flow.protocol, packet::swap16(packet.flow.destination_port));
  LINIMO_TELL(tell_rule(generation, vip, packet.flow.protocol, packet.flow.destination_port);)
  if (packet.service == nullptr) return no_service(generation, packet, out);
  LINIMO_TELL(told_.reached = LINIMO_TRACE_SERVICE; told_.service = packet.service->tracking_key.id;)
  if (!generation.allows(*packet.service, source_of(frame))) return drop(mbuf, LINIMO_OUTCOME_not_allowed);
  LINIMO_TELL(told_.reached = LINIMO_TRACE_ALLOWED;)
  if (packet.flow.fragment != packet::Fragment::kNone && pass_on(generation, packet)) return true;
  const uint32_t ports = uint32_t{packet.flow.source_port} | uint32_t{packet.flow.destination_port} << 16;
  v6 ? look_up<true>(generation, ports, packet.flow.protocol, packet)
     : look_up<false>(generation, ports, packet.flow.protocol, packet);
  if (packet.flow.fragment != packet::Fragment::kNone) packet.decider = Decider::kConnections;
  return true;
}

// The flow's hash says where to look: at a slot of the table, and perhaps at connections.
template <bool kV6>
LINIMO_INLINE void Pipeline::look_up(const Generation& generation, uint32_t ports, uint8_t protocol,
                                     Packet& packet) {
  const ServiceView& service = *packet.service;
  const bool whole = !service.source_hash;
  // The key is put together in registers: what is stored in pieces cannot be loaded as words for a while.
  const uint64_t rest = whole ? linimo_key_end(ports, protocol) : 0;
  if constexpr (kV6) {
    uint64_t addresses[4];
    std::memcpy(addresses, packet.ip + offsetof(packet::Ipv6, source), sizeof addresses);
    if (!whole) addresses[2] = addresses[3] = 0;
    packet.hash = flow_hash6(addresses, rest, generation.seed());
  } else {
    uint64_t addresses;
    std::memcpy(&addresses, packet.ip + offsetof(packet::Ipv4, source), sizeof addresses);
    packet.hash = flow_hash4(whole ? addresses : addresses & 0xffffffff, rest, generation.seed());
  }
  packet.slot = slot_of(packet.hash, service.table_size);
  packet.decider = service.is_settled(packet.slot) ? service.decider : Decider::kConnections;
  LINIMO_TELL(tell_slot(packet);)
  rte_prefetch0(service.slots + packet.slot);
  if (packet.decider != Decider::kTable) connections_.prefetch(packet.hash);
}

// Where a flow that is not tracked goes, or null.
const Target* Pipeline::target_of_slot(const Generation& generation, const Packet& packet, bool begins,
                                       uint32_t now_s) const {
  const ServiceView& service = *packet.service;
  if (linimo_asks_base(!service.is_settled(packet.slot), begins)) {
    if (const uint64_t told = told_of(packet, now_s); told != 0) {
      LINIMO_TELL(told_.decider = LINIMO_TRACE_BY_WORD;)
      if (const Target* target = usable(generation, packet, linimo_flow_backend(told))) return target;
    }
    LINIMO_TELL(told_.decider = LINIMO_TRACE_BY_BASE;)
    if (const Target* base = base_of(packet, now_s)) return base;
  }
  LINIMO_TELL(told_.decider = LINIMO_TRACE_BY_SLOT;)
  const linimo_slot slot = service.slots[packet.slot];
  return slot == LINIMO_NO_BACKEND ? nullptr : service.targets + slot;
}

// Where a stranger sends what begins no flow, on a slot that is not settled, while that counts and lives.
const Target* Pipeline::base_of(const Packet& packet, uint32_t now_s) const {
  const ServiceView& service = *packet.service;
  const uint16_t base = service.unsettled->base(packet.slot, now_s);
  return base != LINIMO_NO_BACKEND && service.targets[base].alive ? service.targets + base : nullptr;
}

uint64_t Pipeline::told_of(const Packet& packet, uint32_t now_s) const {
  const ServiceView& service = *packet.service;
  if (!service.shares_flows || memory_.told == nullptr) return 0;
  return memory_.told->find(packet.hash, service.tracking_key.id, service.tracking_key.idle_timeout_s, now_s);
}

const Target* Pipeline::usable(const Generation& generation, const Packet& packet,
                               uint32_t backend_id) const {
  const Target* target = generation.target_of(backend_id);
  return target != nullptr && target->pool == packet.service->pool && target->alive ? target : nullptr;
}

// The backend, as nearly every packet finds it: the table says it, or the flow's entry. False: more has to be
// asked, as `decider` then says.
LINIMO_INLINE bool Pipeline::choose(const Generation& generation, uint32_t now_s, Packet& packet) const {
  if (kTraced && packet.decider != Decider::kNobody) {
    // Asked as the others are, which finds the same.
  } else if (packet.decider == Decider::kTable) [[likely]] {
    const ServiceView& service = *packet.service;
    const linimo_slot slot = service.slots[packet.slot];
    if (slot != LINIMO_NO_BACKEND) [[likely]] {
      packet.target = service.targets + slot;
      rte_prefetch0(packet.target);
      return true;
    }
  } else if (packet.decider == Decider::kEntry) {
    if (follow_entry(generation, now_s, packet)) [[likely]]
      return true;
  } else if (packet.decider == Decider::kNobody) {
    return true;
  }
  packet.decider = Decider::kConnections;
  connections_.prefetch_second(packet.hash);
  return false;
}

// The same of those that were not so easy. One past the last packet that is to be sent.
__attribute__((noinline)) Pipeline::Packet* Pipeline::choose_rest(const Generation& generation,
                                                                  uint32_t now_s, const Packet* end,
                                                                  BurstOutput& out) {
  Packet* chosen = packets_.data();
  for (Packet* packet = packets_.data(); packet != end; ++packet) {
    if (packet->decider == Decider::kConnections && !recall(generation, now_s, *packet, out)) continue;
    if (chosen != packet) *chosen = *packet;
    ++chosen;
  }
  return chosen;
}

// Most tracked flows' packets: there is an entry that they follow, and nothing to note.
LINIMO_INLINE bool Pipeline::follow_entry(const Generation& generation, uint32_t now_s,
                                          Packet& packet) const {
  const ServiceView& service = *packet.service;
  const ConnectionTable::Entry entry = connections_.find_fresh(packet.hash, service.tracking_key, now_s);
  constexpr uint8_t kTelling = packet::kTcpSyn | packet::kTcpFin | packet::kTcpRst;
  if (entry == nullptr || (packet.tcp_flags & kTelling) != 0) return false;
  packet.target = generation.target_of(ConnectionTable::backend_id(entry));
  if (packet.target == nullptr || packet.target->pool != service.pool || !packet.target->alive) return false;
  return true;
}

// The backend, in the order of maglev/rules/choice.h.
bool Pipeline::recall(const Generation& generation, uint32_t now_s, Packet& packet, BurstOutput& out) {
  const ServiceView& service = *packet.service;
  packet.target = service.server_id_length != 0 ? named_target(generation, packet) : nullptr;
  const bool named = packet.target != nullptr;
  LINIMO_TELL(told_.decider = named ? LINIMO_TRACE_BY_NAME : LINIMO_TRACE_BY_NOBODY;)
  const bool tracked = service.tracks(packet.slot);
  const bool leaves_a_trace = linimo_leaves_a_trace(packet.tcp_flags);
  const bool begins = linimo_begins_connection(packet.tcp_flags);
  ConnectionTable::Entry entry = nullptr;
  bool follows = false;  // the entry says where it goes
  if (tracked) entry = connections_.find(packet.hash, service.tracking_key, now_s);
  if (entry != nullptr) {
    const Target* known = usable(generation, packet, ConnectionTable::backend_id(entry));
    const bool lives = known != nullptr;
    const bool may_have_ended = ConnectionTable::may_have_ended(entry, now_s);
    const linimo_entry_use use = linimo_use_of_entry(lives, named && packet.target != known, begins,
                                                     lives && known->takes_new_flows, may_have_ended);
    follows = use == LINIMO_ENTRY_FOLLOWED;
    LINIMO_TELL(tell_entry(entry, use, leaves_a_trace, now_s);)
    if (follows) packet.target = known;
    if (follows && linimo_is_repeated_syn(begins, may_have_ended))
      count(counters_.repeated_syns[known->backend_id]);
    if (follows && leaves_a_trace) {
      LINIMO_UNTRACED(connections_.touch(entry, (packet.tcp_flags & packet::kTcpFin) != 0, begins, now_s);)
    }
    if (use == LINIMO_ENTRY_ENDED) entry = nullptr;
  }

  if (!follows) {
    if (packet.target == nullptr) {
      packet.target = target_of_slot(generation, packet, begins, now_s);
      if (packet.target == nullptr) return no_backend(generation, packet, out);
    }
    if (entry != nullptr) {
      LINIMO_UNTRACED(connections_.redirect(entry, packet.target->backend_id);)
    } else if (tracked && leaves_a_trace) {
      // No room is no reason to drop: the flow's next packet will take the same slot.
      const Target* target =
          service.schedule == nullptr || named ? packet.target : scheduled(generation, packet);
      if (remember_flow(packet, target->backend_id, now_s)) {
        packet.target = target;
        count(counters_.services[service.tracking_key.id].new_flows);
        count(counters_.backends[packet.target->backend_id].new_flows);
      } else {
        LINIMO_TELL(if (service.schedule != nullptr && !named) told_.decider = LINIMO_TRACE_BY_SLOT;)
        count(counters_.flows_unstored);
      }
    }
  }
  if (service.unsettled != nullptr && linimo_tells_of_slot(tracked, named)) {
    LINIMO_UNTRACED(note_deviation(service, packet.slot, packet.target, now_s);)
  }
  if (service.shares_flows && words_ != nullptr && tracked && follows && leaves_a_trace && !begins && !named)
      [[unlikely]]
    tell_others(packet, now_s);
  rte_prefetch0(packet.target);
  if (packet.judged && packet.flow.fragment == packet::Fragment::kFirst) [[unlikely]]
    remember_datagram(generation, packet);
  return true;
}

/// False: there was no place that it may take.
LINIMO_INLINE bool Pipeline::remember_flow(const Packet& packet, [[maybe_unused]] uint32_t backend_id,
                                           uint32_t now_s) {
  const ConnectionTable::Service& key = packet.service->tracking_key;
#ifdef LINIMO_TRACED
  const bool room = connections_.has_room(packet.hash, key, now_s);
  told_.memory = room ? LINIMO_TRACE_KEEPS_NEW : LINIMO_TRACE_NO_ROOM;
  return room;
#else
  return connections_.insert(packet.hash, key, backend_id, now_s);
#endif
}

// Into the tunnel and onto the wire.
LINIMO_INLINE void Pipeline::send(const Generation& generation, Packet& packet, BurstOutput& out) {
  rte_mbuf* mbuf = packet.mbuf;
  const Target& target = *packet.target;
  const NextHopTable::Raw hop = next_hops_.load(target.backend_id);
  LINIMO_TELL(tell_target(target, hop);)
  if (hop.state() != NextHop::kResolved) [[unlikely]]
    return undeliverable(mbuf, hop.state());
  LINIMO_TELL(told_.reached = LINIMO_TRACE_WAY;)
  const uint32_t outer_length = uint32_t{packet.ip_length} + target.tunnel.header_length;
  const bool fits = outer_length <= hop.mtu();
  if (!fits && !linimo_leaves_in_fragments(packet.v6, packet.ip_length)) [[unlikely]]
    return too_big(generation, packet, hop.mtu(), out);

  // The frame becomes: Ethernet, outer header, inner packet; old link header and padding go.
  uint8_t* const outer = const_cast<uint8_t*>(packet.ip) - target.tunnel.header_length;
  if (target.tunnel.encapsulation == LINIMO_ENCAP_IPIP) [[likely]]
    packet::put_ip(target.tunnel, {packet.ip, packet.ip_length, packet.v6}, packet.hash, outer);
  else
    wrap(target, packet, outer);
  const uint64_t tags = hop.tags();
  const uint32_t tags_length = hop.tags_length();
  uint8_t* const frame = outer - sizeof(packet::Ethernet) - tags_length;
  const uint64_t destination = hop.mac(), source = port_macs_.load(hop.port());
  const uint16_t type = target.tunnel.outer_v6 ? packet::kTypeIpv6 : packet::kTypeIpv4;
  std::memcpy(frame, &destination, sizeof destination);  // and two bytes that the next line overwrites
  std::memcpy(frame + 6, &source, sizeof source);        // likewise
  if (tags_length != 0) [[unlikely]]
    std::memcpy(frame + 12, &tags, tags_length);
  std::memcpy(outer - sizeof type, &type, sizeof type);
  mbuf->data_off = static_cast<uint16_t>(frame - static_cast<uint8_t*>(mbuf->buf_addr));
  mbuf->data_len = static_cast<uint16_t>(sizeof(packet::Ethernet) + tags_length + outer_length);
  mbuf->pkt_len = mbuf->data_len;
  mbuf->ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;  // what receiving said is no order for sending

  LINIMO_TELL(told_.reached = LINIMO_TRACE_SENT;)
  count(counters_.services[packet.service->tracking_key.id], packet.ip_length);
  count(counters_.backends[target.backend_id], packet.ip_length);
  TransmitList& transmit = out.transmit[hop.port()];
  if (!fits) [[unlikely]]
    return send_in_fragments(mbuf, outer_length, hop.mtu(), packet.sent_as, transmit);
  if (packet.sent_as == LINIMO_OUTCOME_forwarded) [[likely]]
    transmit.push(mbuf);
  else
    transmit.push(mbuf, packet.sent_as);
}

// The stages for one packet alone, where others of its burst go in lanes.
bool Pipeline::admit_one(rte_mbuf* mbuf, const Generation& generation, Packet& packet, BurstOutput& out) {
  return admit(mbuf, generation, packet, out);
}
bool Pipeline::choose_one(const Generation& generation, uint32_t now_s, Packet& packet) const {
  return choose(generation, now_s, packet);
}
void Pipeline::send_one(const Generation& generation, Packet& packet, BurstOutput& out) {
  send(generation, packet, out);
}

__attribute__((noinline)) void Pipeline::wrap(const Target& target, Packet& packet, uint8_t* outer) {
  const bool checksummed = packet::is_checksummed(target.tunnel);
  if (checksummed) look_closer(packet);  // while it is as it came
  packet::encapsulate(target.tunnel, {packet.ip, packet.ip_length, packet.v6}, packet.hash, outer);
  if (checksummed) packet::put_checksum(packet.frame, packet.flow, outer);
  if (packet.sent_as == LINIMO_OUTCOME_fragment_passed && !target.tunnel.outer_v6)
    packet::forbid_fragments(outer);
}

}  // namespace linimo
