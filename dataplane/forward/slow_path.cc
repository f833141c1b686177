// The packet path's rare turns: ICMP, fragments, QUIC's server ids, schedulers, replies, words to other
// nodes. Kept out of pipeline.cc, and cold, so that what nearly every packet does stays close together.

#include <algorithm>
#include <random>

#include <rte_mbuf.h>

#include "dataplane/forward/frame_addresses.h"
#include "dataplane/forward/pipeline.h"
#include "dataplane/packet/echo.h"
#include "dataplane/packet/outer_fragments.h"
#include "dataplane/packet/quic.h"
#include "dataplane/packet/quote.h"
#include "dataplane/packet/reply.h"
#include "maglev/rules/choice.h"

#define LINIMO_COLD __attribute__((noinline, cold))

namespace linimo {
namespace {

const uint32_t kFirstIdentification = std::random_device()();  // nobody can guess those of fragments

uint64_t datagram_hash(const packet::Frame& frame, const packet::Flow& flow, uint64_t seed) {
  return hash_of(frame, linimo_datagram_key_end(frame.is_v6, flow.datagram_id, flow.protocol), seed);
}

}  // namespace

Pipeline::~Pipeline() {
  held_.release(0, [](uint64_t, void* fragment, bool) {
    rte_pktmbuf_free(static_cast<rte_mbuf*>(fragment));
    return true;
  });
}

// What a recognized packet was not asked, for those few that turn out to need it.
LINIMO_COLD void Pipeline::look_closer(Packet& packet) {
  if (packet.judged) return;
  packet.passed = false;  // such a one is always judged
  packet::locate(rte_pktmbuf_mtod(packet.mbuf, const uint8_t*), rte_pktmbuf_data_len(packet.mbuf),
                 packet.frame);
  packet::judge(packet.frame, packet::HeaderChecksum::kGood, packet.flow);
  packet.judged = true;
}

// An echo request, an error that belongs to the backend of the flow that it quotes, or neighbour discovery,
// which is the kernel's. Nothing is tracked by it.
LINIMO_COLD bool Pipeline::take_icmp(const Generation& generation, uint32_t vip, Packet& packet,
                                     BurstOutput& out) {
  rte_mbuf* mbuf = packet.mbuf;
  if (packet::is_echo_request(packet.frame, packet.flow)) {
    LINIMO_TELL(told_.icmp = LINIMO_TRACE_ICMP_ECHO;)
    if (!may_reply(generation, memory_.echo, packet)) return false;
    packet::make_echo_reply(rte_pktmbuf_mtod(mbuf, uint8_t*), packet.frame, packet.flow);
    reply(mbuf, 0, uint32_t{packet.frame.ip_offset} + packet.flow.ip_length, LINIMO_OUTCOME_echo_reply, out);
    return false;
  }
  const auto about = packet::quoted_flow(packet.frame, packet.flow);
  LINIMO_TELL(told_.icmp = about ? LINIMO_TRACE_ICMP_ERROR
                           : packet::is_neighbour_discovery(packet.frame, packet.flow)
                               ? LINIMO_TRACE_ICMP_NEIGHBOUR
                               : LINIMO_TRACE_ICMP_OTHER;)
  if (!about) {
    return packet::is_neighbour_discovery(packet.frame, packet.flow) ? to_kernel(mbuf, &generation, out)
                                                                     : no_service(generation, packet, out);
  }
  packet.service = generation.service(vip, about->protocol, packet::swap16(about->destination_port));
  LINIMO_TELL(tell_rule(generation, vip, about->protocol, about->destination_port);)
  if (packet.service == nullptr) return no_service(generation, packet, out);
  LINIMO_TELL(told_.reached = LINIMO_TRACE_ALLOWED; told_.service = packet.service->tracking_key.id;)
  const bool whole = !packet.service->source_hash;
  const uint32_t ports = uint32_t{about->source_port} | uint32_t{about->destination_port} << 16;
  packet.hash =
      hash_of(about->source.data(), whole ? about->destination.data() : nullptr,
              whole ? linimo_key_end(ports, about->protocol) : 0, packet.frame.is_v6, generation.seed());
  packet.sent_as = LINIMO_OUTCOME_icmp_error;
  packet.slot = slot_of(packet.hash, packet.service->table_size);
  LINIMO_TELL(tell_slot(packet); told_.decider = LINIMO_TRACE_BY_ENTRY;)
  packet.target = packet.service->tracks(packet.slot) ? tracked_anywhere(generation, packet) : nullptr;
  packet.decider = Decider::kNobody;
  if (packet.target == nullptr)
    packet.target = target_of_slot(generation, packet, false, static_cast<uint32_t>(now_ms_ / 1000));
  return packet.target != nullptr || drop(mbuf, LINIMO_OUTCOME_no_backend);
}

// The backend of a tracked flow that may be another worker's.
const Target* Pipeline::tracked_anywhere(const Generation& generation, const Packet& packet) const {
  const ServiceView& service = *packet.service;
  const auto now_s = static_cast<uint32_t>(now_ms_ / 1000);
  auto backend = connections_.peek(packet.hash, service.tracking_key, now_s);
  for (size_t i = 0; !backend && i < all_flows_.size(); ++i)
    backend = all_flows_[i].connections.peek(packet.hash, service.tracking_key, now_s);
  return backend ? usable(generation, packet, *backend) : nullptr;
}

// The backend that a QUIC packet's connection id names, while that lives.
LINIMO_COLD const Target* Pipeline::named_target(const Generation& generation, Packet& packet) const {
  look_closer(packet);
  const ServiceView& service = *packet.service;
  const auto id =
      packet::quic_server_id(packet.frame, packet.flow, service.server_id_offset, service.server_id_length);
  const Target* target = id ? generation.target_of_server_id(service, *id) : nullptr;
  return target != nullptr && target->alive ? target : nullptr;
}

// Where a packet of an unknown flow goes, if that can be stored, of a service whose scheduler keeps state.
const Target* Pipeline::scheduled(const Generation& generation, Packet& packet) {
  const ServiceView& service = *packet.service;
  look_closer(packet);
  if (linimo_is_midway(packet.flow.protocol, packet.tcp_flags)) {
    const Target* tracked = tracked_anywhere(generation, packet);
    LINIMO_TELL(if (tracked != nullptr) told_.decider = LINIMO_TRACE_BY_ENTRY;)
    return tracked != nullptr ? tracked : packet.target;
  }
  const linimo_slot member = memory_.scheduler.next(*service.schedule, service.tracking_key.id, packet.hash);
  LINIMO_TELL(if (member != LINIMO_NO_BACKEND) told_.decider = LINIMO_TRACE_BY_SCHEDULER;)
  return member == LINIMO_NO_BACKEND ? packet.target : service.targets + member;
}

// A flow that is followed, on a slot that is not settled: would another node send it elsewhere? A word that
// finds no room is lost; the flow's next packet makes another.
__attribute__((noinline)) void Pipeline::tell_others(const Packet& packet, uint32_t now_s) {
  const ServiceView& service = *packet.service;
  const ConnectionTable::Service& key = service.tracking_key;
  const Target* base = base_of(packet, now_s);
  const linimo_slot slot = service.slots[packet.slot];
  constexpr uint32_t kNone = LINIMO_MAX_BACKEND_IDS;
  const bool wanted = linimo_is_to_be_told(
      packet.target->backend_id, slot == LINIMO_NO_BACKEND ? kNone : service.targets[slot].backend_id,
      base == nullptr ? kNone : base->backend_id, kNone, service.unsettled->base_left(packet.slot, now_s),
      key.idle_timeout_s);
  const bool ends = (packet.tcp_flags & packet::kTcpFin) != 0;
  if (!wanted && !ends) return;
  const linimo_word_kind word = linimo_word_of(told_of(packet, now_s), ends, wanted,
                                               packet.target->backend_id, key.idle_timeout_s, now_s);
  if (word != LINIMO_WORD_NONE)
    words_->push({packet.hash, packet.target->backend_id, static_cast<uint16_t>(key.id),
                  word == LINIMO_WORD_ENDED, 0});
}

LINIMO_COLD void Pipeline::remember_datagram([[maybe_unused]] const Generation& generation,
                                             [[maybe_unused]] const Packet& packet) {
#ifndef LINIMO_TRACED
  const uint64_t datagram = datagram_hash(packet.frame, packet.flow, generation.seed());
  const uint32_t backend = packet.target->backend_id, service = packet.service->tracking_key.id;
  fragments_.remember(datagram, {backend, service}, now_ms_);
  if (generation.handlers_move() && words_ != nullptr)
    words_->push({datagram, backend, static_cast<uint16_t>(service), 0, 1});
#endif
}

std::optional<FragmentMemory::Choice> Pipeline::recall_datagram(uint64_t datagram) const {
  auto choice = fragments_.find(datagram, now_ms_);
  for (size_t i = 0; !choice && i < all_flows_.size(); ++i)
    choice = all_flows_[i].fragments.find(datagram, now_ms_);
  if (!choice && memory_.told_datagrams != nullptr) choice = memory_.told_datagrams->find(datagram, now_ms_);
  return choice;
}

// A fragment without ports follows the first of its datagram, goes to the node that handles it, or waits.
LINIMO_COLD bool Pipeline::take_later_fragment(const Generation& generation, Packet& packet) {
  packet.hash = datagram_hash(packet.frame, packet.flow, generation.seed());
  LINIMO_TELL(told_.hash = packet.hash;)
  const auto choice = recall_datagram(packet.hash);
  if (!choice) {
    if (!settling_ && pass_on(generation, packet)) return true;
    packet.mbuf->hash.usr = in_port_;  // nobody asks for what a NIC may have written there
    if (!settling_ && held_.hold(packet.hash, packet.mbuf, now_ms_)) return false;
    return drop(packet.mbuf, LINIMO_OUTCOME_fragment_unmatched);
  }
  LINIMO_TELL(told_.reached = LINIMO_TRACE_ALLOWED; told_.service = choice->service_id;
              told_.decider = LINIMO_TRACE_BY_FRAGMENT;)
  const auto* service = generation.service_of_id(choice->service_id);
  const auto* target = generation.target_of(choice->backend_id);
  if (service == nullptr || target == nullptr || !target->alive)
    return drop(packet.mbuf, LINIMO_OUTCOME_fragment_unmatched);
  packet.service = service;
  packet.target = target;
  packet.decider = Decider::kNobody;
  return true;
}

void Pipeline::release_held(const Generation* generation, uint64_t now_ms, BurstOutput& out) {
  now_ms_ = now_ms;
  settling_ = true;
  uint32_t leaving = 0;
  held_.release(now_ms, [&](uint64_t datagram, void* fragment, bool overdue) {
    if (leaving == kMaxBurst) return false;
    auto* mbuf = static_cast<rte_mbuf*>(fragment);
    if (generation != nullptr && recall_datagram(datagram)) {
      // As if it came in now: what it is to whom may have changed.
      run({&mbuf, 1}, mbuf->hash.usr, generation, now_ms, out);
    } else if (overdue) {
      drop(mbuf, LINIMO_OUTCOME_fragment_unmatched);
    } else {
      return false;
    }
    ++leaving;
    return true;
  });
  settling_ = false;
}

LINIMO_COLD bool Pipeline::no_backend(const Generation& generation, Packet& packet, BurstOutput& out) {
  look_closer(packet);
  rte_mbuf* mbuf = packet.mbuf;
  const bool udp = packet.flow.protocol == packet::kUdp;
  const auto fragment = static_cast<linimo_fragment_kind>(packet.flow.fragment);
  // What another node has passed on came from there, and so would the answer go.
  if (!packet.service->reject || packet.passed ||
      !linimo_may_be_rejected(packet.flow.protocol, fragment, packet.flow.tcp_flags))
    return drop(mbuf, LINIMO_OUTCOME_no_backend);
  if (!may_reply(generation, memory_.reject, packet)) return false;
  auto* bytes = rte_pktmbuf_mtod(mbuf, uint8_t*);
  const packet::Reply made =
      udp ? packet::make_icmp_error(bytes, packet.frame, packet.flow, LINIMO_ERROR_PORT_UNREACHABLE, 0)
          : packet::make_reset(bytes, packet.frame, packet.flow);
  reply(mbuf, made.growth, made.length, LINIMO_OUTCOME_reject_reply, out);
  return false;
}

// The frame as one buffer, which all that is done with it takes it for. Drivers make several of one where
// theirs are smaller than the longest frame; the port's own are not. False: it went elsewhere.
LINIMO_COLD bool Pipeline::gather(const Generation& generation, Packet& packet, BurstOutput& out) {
  rte_mbuf* const parts = packet.mbuf;
  const uint32_t length = rte_pktmbuf_pkt_len(parts);
  rte_mbuf* whole = rte_pktmbuf_alloc(parts->pool);
  if (whole != nullptr && length <= rte_pktmbuf_tailroom(whole)) {
    char* at = rte_pktmbuf_append(whole, static_cast<uint16_t>(length));
    const void* read = rte_pktmbuf_read(parts, 0, length, at);
    if (read != at) std::memcpy(at, read, length);  // it lay in one part
    rte_mbuf_dynfield_copy(whole, parts);
    whole->ol_flags |= parts->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
    whole->port = parts->port;
    rte_pktmbuf_free(parts);
    packet.mbuf = whole;
    return true;
  }
  rte_pktmbuf_free(whole);
  // Whose it is stands in the first bytes, wherever these lie.
  uint8_t headers[sizeof(packet::Ethernet) + 2 * sizeof(packet::VlanTag) + sizeof(packet::Ipv6)];
  const auto known = std::min<uint32_t>(length, sizeof headers);
  const auto* bytes = static_cast<const uint8_t*>(rte_pktmbuf_read(parts, 0, known, headers));
  if (vip_of(generation, bytes, known, packet.frame) == VipTable::kNone)
    return to_kernel(parts, &generation, out);
  return drop(parts, LINIMO_OUTCOME_fragmented_frame);
}

LINIMO_COLD void Pipeline::too_big(const Generation& generation, Packet& packet, uint32_t mtu,
                                   BurstOutput& out) {
  look_closer(packet);
  rte_mbuf* mbuf = packet.mbuf;
  const bool v6 = packet.frame.is_v6;
  const auto fragment = static_cast<linimo_fragment_kind>(packet.flow.fragment);
  if (packet.passed || !linimo_too_big_is_told(v6, v6 ? uint16_t{0} : packet.frame.v4().fragment, fragment,
                                               packet.sent_as != LINIMO_OUTCOME_forwarded)) {
    drop(mbuf, LINIMO_OUTCOME_too_big);
    return;
  }
  if (!may_reply(generation, memory_.too_big, packet)) return;
  const packet::Reply made = packet::make_icmp_error(
      rte_pktmbuf_mtod(mbuf, uint8_t*), packet.frame, packet.flow, LINIMO_ERROR_TOO_BIG,
      linimo_told_mtu(v6, mtu, packet.target->tunnel.header_length));
  reply(mbuf, made.growth, made.length, LINIMO_OUTCOME_too_big_reply, out);
}

/// The outer packet, at the end of the frame, in fragments. Numbers of workers never meet.
LINIMO_COLD void Pipeline::send_in_fragments(rte_mbuf* whole, uint32_t outer_length, uint32_t mtu,
                                             linimo_outcome sent_as, TransmitList& transmit) {
  const uint32_t link = whole->data_len - outer_length;
  const auto* frame = rte_pktmbuf_mtod(whole, const uint8_t*);
  const auto number = static_cast<uint32_t>(fragmented_++ * all_flows_.size() + own_);
  const packet::OuterFragments fragments(frame + link, outer_length, mtu, kFirstIdentification + number);
  rte_mbuf* mbufs[packet::OuterFragments::kMost];
  const uint32_t pieces = fragments.count();
  if (pieces == 0) {
    drop(whole, LINIMO_OUTCOME_too_big);
    return;
  }
  // The other half of the list is for packets that leave whole.
  if (transmit.count + pieces > kMaxBurst || rte_pktmbuf_alloc_bulk(whole->pool, mbufs, pieces) != 0) {
    drop(whole, LINIMO_OUTCOME_tx_full);
    return;
  }
  for (uint32_t i = 0; i < pieces; ++i) {
    auto* at = reinterpret_cast<uint8_t*>(
        rte_pktmbuf_append(mbufs[i], static_cast<uint16_t>(link + fragments.length(i))));
    std::memcpy(at, frame, link);
    fragments.write(i, at + link);
    rte_mbuf_dynfield_copy(mbufs[i], whole);
    if (i + 1 < pieces)
      transmit.push_uncounted(mbufs[i]);
    else
      transmit.push(mbufs[i], sent_as);
  }
  rte_pktmbuf_free(whole);
}

bool Pipeline::may_reply(const Generation& generation, linimo_reply_limit& limit, const Packet& packet) {
  uint64_t source = 0;
  const packet::Frame& frame = packet.frame;
  if (frame.is_v6)
    std::memcpy(&source, frame.v6().source, sizeof source);
  else
    source = frame.v4().source;
  const uint32_t place = linimo_reply_place(source, frame.is_v6, generation.seed());
  if (linimo_may_reply(&limit, generation.snapshot().header().reply_rate, place, now_ms_ * 1'000'000))
    return true;
  return drop(packet.mbuf, LINIMO_OUTCOME_rate_limited);
}

/// Back by the port that the packet came in by. `growth`: bytes that the reply begins before the frame did.
void Pipeline::reply(rte_mbuf* mbuf, uint32_t growth, uint32_t length, linimo_outcome outcome,
                     BurstOutput& out) {
  mbuf->data_off = static_cast<uint16_t>(mbuf->data_off - growth);
  mbuf->data_len = static_cast<uint16_t>(length);
  mbuf->pkt_len = length;
  mbuf->ol_flags &= RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;  // what receiving said is no order for sending
  out.transmit[in_port_].push(mbuf, outcome);
}

}  // namespace linimo
