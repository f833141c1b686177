// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The XDP engine: the life of a packet, top to bottom. The same rules, the same bytes out as the DPDK
// engine's (dataplane/forward/pipeline.cc); tests/packets holds both to it.
//
// All that can differ between two installations is data in maps; an interface's number, its rows and the
// connection tables' size are set when the program is loaded for an interface.

#include "choice.h"
#include "cut.h"
#include "encapsulate.h"
#include "fragment.h"
#include "icmp.h"
#include "maglev/rules/control.h"
#include "passing.h"
#include "reply.h"
#if !defined(LINIMO_TRACED) && !defined(LINIMO_CAPTURED)
#include "straight.h"
#endif

/* Does the host's control traffic need this frame (ARP, neighbour discovery, MLD, LLDP, BGP, BFD)? */
static __noinline int is_control(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  __u32 at;
  const __be16 type = link_header(data, data_end, &at);
  if (linimo_is_control_type(type)) return 1;
  __u8 protocol;
  if (type == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = data + at;
    if ((void*)(ip + 1) > data_end) return 0;
    protocol = ip->protocol;
    at += ip->ihl * 4;
  } else if (type == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr* ip = data + at;
    if ((void*)(ip + 1) > data_end) return 0;
    protocol = ip->nexthdr;
    at += sizeof *ip;
    __u8* options = data + at;
    if (protocol == IPPROTO_HOPOPTS && (void*)(options + 8) <= data_end) {  // MLD carries a router alert
      protocol = options[0];
      at += linimo_extension_length(options[1]);
    }
  } else {
    return 0;
  }
  const __u32* first = data + at;
  return (void*)(first + 1) <= data_end && linimo_is_control(protocol, *first);
}

static __always_inline int to_kernel(struct xdp_md* ctx, const struct flow* flow) {
  count_outcome(flow->row, is_control(ctx) ? LINIMO_OUTCOME_kernel_control : LINIMO_OUTCOME_kernel);
  return XDP_PASS;
}

/* Replies leave by the port that the packet came in by. What could not be made is dropped, however far it
 * got. */
static __always_inline int answered(const struct flow* flow, int failed, enum linimo_outcome outcome) {
  if (failed) return drop(flow, LINIMO_OUTCOME_tx_full);
  count_outcome(flow->row, outcome);
  return XDP_TX;
}

LINIMO_TELL(struct linimo_reply_limit asked;) /* a copy of two words that may be written */

__noinline int may_reply(__u32 row, __u32 kind, __u32 rate, __u32 place) {
  struct linimo_xdp_replies* of_row = bpf_map_lookup_elem(&replies, &row);
  if (!of_row || kind >= LINIMO_REPLY_COUNT) return 0;
  LINIMO_TELL(const __u32 source = place % LINIMO_REPLY_SOURCES;
              asked.full_at = of_row->of_kind[kind].full_at;
              asked.full_at_of_source[source] = of_row->of_kind[kind].full_at_of_source[source];
              return linimo_may_reply(&asked, rate, place, bpf_ktime_get_coarse_ns());)
  return linimo_may_reply(&of_row->of_kind[kind], rate, place, bpf_ktime_get_coarse_ns());
}

/* One way out for all replies: the kind says which. `mtu`: what a too big packet should have kept to. */
static __always_inline int answer(struct xdp_md* ctx, const struct flow* flow, enum linimo_reply kind,
                                  __u32 mtu) {
  const struct packet* p = in_memory(flow);
  const __u32 row = flow->row;
  const struct linimo_xdp_head* head = flow->generation.head;
  const __u32 place =
      linimo_reply_place(p->v6 ? p->source.high : p->source.low >> 32, p->v6, head->key4_mix[0]);
  if (!may_reply(row, kind, head->reply_rate, place)) return drop(flow, LINIMO_OUTCOME_rate_limited);
  if (kind == LINIMO_REPLY_ECHO) return answered(flow, reply_to_echo(ctx, p), LINIMO_OUTCOME_echo_reply);
  if (kind == LINIMO_REPLY_TOO_BIG)
    return answered(flow, reply_about(ctx, p, LINIMO_ERROR_TOO_BIG, mtu), LINIMO_OUTCOME_too_big_reply);
  const int failed = p->protocol == IPPROTO_TCP ? reply_with_reset(ctx, p)
                                                : reply_about(ctx, p, LINIMO_ERROR_PORT_UNREACHABLE, 0);
  return answered(flow, failed, LINIMO_OUTCOME_reject_reply);
}

static __always_inline int no_backend(struct xdp_md* ctx, const struct flow* flow) {
  const struct packet* p = &flow->packet;
  // What another node has passed on came from there, and so would the answer go.
  if (flow->service->reject && !p->passed && linimo_may_be_rejected(p->protocol, p->fragment, p->tcp_flags))
    return answer(ctx, flow, LINIMO_REPLY_REJECT, 0);
  return drop(flow, LINIMO_OUTCOME_no_backend);
}

static __always_inline int too_big(struct xdp_md* ctx, const struct flow* flow, __u32 mtu) {
  const struct packet* p = &flow->packet;
  if (!p->passed &&
      linimo_too_big_is_told(p->v6, p->ip_fragment, p->fragment, flow->sent != LINIMO_OUTCOME_forwarded))
    return answer(ctx, flow, LINIMO_REPLY_TOO_BIG, linimo_told_mtu(p->v6, mtu, flow->target->header_length));
  return drop(flow, LINIMO_OUTCOME_too_big);
}

#ifdef LINIMO_TRACED
static __always_inline void tell_target(const struct linimo_xdp_target* target, const struct way_out* way) {
  told.reached = LINIMO_TRACE_CHOSEN;
  told.backend = target->backend_id;
  told.keeps_only = target->alive == LINIMO_XDP_NO_NEW_FLOWS;
  told.encapsulation = target->encapsulation;
  told.header_length = target->header_length;
  told.way = way->mac;
  told.tags = way->tags;
  told.mtu = way->mtu;
}
#endif

/* Into the tunnel and onto the wire. */
static __always_inline int send(struct xdp_md* ctx, struct flow* flow) {
  const struct linimo_xdp_target* target = flow->target;
  LINIMO_NOTE(note_target(target->backend_id, flow->service_id, target->encapsulation);)
  struct way_out way;
  LINIMO_TELL(way = (struct way_out){};)
  const int reachable = way_to(target->backend_id, &way);
  LINIMO_TELL(tell_target(target, &way);)
  if (reachable != LINIMO_OUTCOME_forwarded) return drop(flow, reachable);
  LINIMO_TELL(told.reached = LINIMO_TRACE_WAY;)
  const int fits = flow->packet.ip_length + target->header_length <= way.mtu;
  if (!fits && !linimo_leaves_in_fragments(flow->packet.v6, flow->packet.ip_length))
    return too_big(ctx, flow, way.mtu);
  const struct linimo_xdp_port* port = bpf_map_lookup_elem(&ports, &way.port);
  if (!port) return drop(flow, LINIMO_OUTCOME_wrong_egress);
  int inner_sum = 0;
  if (target->outer_v6 && target->encapsulation == LINIMO_ENCAP_GUE) {
    inner_sum = packet_sum(ctx, in_memory(flow));
    if (inner_sum < 0) return drop(flow, LINIMO_OUTCOME_tx_full);
  }
  if (!encapsulate(ctx, target, &flow->packet, &way, port, flow->hash, inner_sum))
    return drop(flow, LINIMO_OUTCOME_tx_full);
  // What the other driver would refuse, the kernel would lose uncounted.
  if (way.port != port_number && !port->takes_several && is_in_several_buffers(ctx))
    return drop(flow, LINIMO_OUTCOME_fragmented_frame);
  if (!fits) {
    if (!may_be_handed(ctx)) return drop(flow, LINIMO_OUTCOME_fragmented_frame);
    const __u64 cut =
        LINIMO_XDP_HANDED_WAY(port->ifindex, way.mtu, ETH_HLEN + linimo_tags_length(way.tags), flow->sent);
    if (hand_to_process(ctx, flow->row, 0, cut) != XDP_REDIRECT) return drop(flow, LINIMO_OUTCOME_too_big);
  }
  LINIMO_TELL(told.reached = LINIMO_TRACE_SENT;)
  count_traffic(flow->row, kCountersServices + flow->service_id, flow->packet.ip_length);
  count_traffic(flow->row, kCountersBackends + target->backend_id, flow->packet.ip_length);
  LINIMO_NOTE(note_way(way.port, !fits); note_outcome(flow->sent);)
  if (!fits) return XDP_REDIRECT;  // the process counts what becomes of it
  count_outcome(flow->row, flow->sent);
  return way.port == port_number ? XDP_TX : bpf_redirect(port->ifindex, 0);
}

/* What a stage answers when the packet is to be sent; else it is what the program answers. */
enum { kSend = -1 };

/* To a VIP, and nothing that Linimo does anything with. The host may have the address too. If it has not, its
 * kernel would route the packet back: a loop. */
static __always_inline int no_service(struct xdp_md* ctx, const struct flow* flow) {
  const struct words* to = &flow->packet.destination;
  if (is_host_address(flow->generation.active, to->high, to->low)) return to_kernel(ctx, flow);
  return drop(flow, LINIMO_OUTCOME_no_service);
}

/* TCP or UDP, or what no service can have. */
static __always_inline int take_flow(struct xdp_md* ctx, struct flow* flow,
                                     const struct linimo_xdp_vip* vip) {
  const struct packet* p = &flow->packet;
  flow->service = find_service(&flow->generation, vip, p->protocol, bpf_ntohs(p->destination_port));
  if (!flow->service) return no_service(ctx, flow);
  LINIMO_TELL(told.reached = LINIMO_TRACE_SERVICE; told.service = flow->service->id;)
  if (!is_allowed(&flow->generation, flow->service, &p->source))
    return drop(flow, LINIMO_OUTCOME_not_allowed);
  if (p->fragment == LINIMO_FIRST_FRAGMENT && pass_on(flow)) return kSend;
  const struct flow_key key = {p->source, p->destination, p->source_port, p->destination_port, p->protocol};
  hash_key(flow, &key);
  if (!choose(ctx, flow)) return no_backend(ctx, flow);
  if (p->fragment == LINIMO_FIRST_FRAGMENT) {
    const __u64 datagram = datagram_hash(flow->generation.head, p);
    remember_datagram(datagram, flow->row, flow->target->backend_id, flow->service_id);
    if (flow->generation.head->handlers_move)
      say_datagram(datagram, flow->service_id, flow->target->backend_id);
  }
  return kSend;
}

/* An echo request, an error that belongs to the backend of the flow that it quotes, or neighbour discovery,
 * which is the kernel's. Nothing is tracked by it. */
static __always_inline int take_icmp(struct xdp_md* ctx, struct flow* flow,
                                     const struct linimo_xdp_vip* vip) {
  struct quote quote = {};
  const int kind =
      flow->packet.fragment == LINIMO_WHOLE ? judge_icmp(ctx, in_memory(flow), &quote) : kIcmpOther;
  LINIMO_TELL(const int answers = kind == kIcmpEcho && !is_source_routed(ctx, in_memory(flow));
              told.icmp = answers                  ? LINIMO_TRACE_ICMP_ECHO
                          : kind == kIcmpNeighbour ? LINIMO_TRACE_ICMP_NEIGHBOUR
                          : kind == kIcmpError     ? LINIMO_TRACE_ICMP_ERROR
                                                   : LINIMO_TRACE_ICMP_OTHER;)
  if (kind == kIcmpEcho && !is_source_routed(ctx, in_memory(flow)))
    return answer(ctx, flow, LINIMO_REPLY_ECHO, 0);
  if (kind == kIcmpNeighbour) return to_kernel(ctx, flow);
  if (kind != kIcmpError) return no_service(ctx, flow);
  flow->service =
      find_service(&flow->generation, vip, quote.key.protocol, bpf_ntohs(quote.key.destination_port));
  if (!flow->service) return no_service(ctx, flow);
  hash_key(flow, &quote.key);
  flow->sent = LINIMO_OUTCOME_icmp_error;
  LINIMO_TELL(told.decider = LINIMO_TRACE_BY_ENTRY;)
  if (find_slot(flow)) {
    const __u64 found =
        find_flow_anywhere(flow->row, flow->hash, flow->service_id, flow->service->idle_ticks);
    if (found != 0) flow->target = target_of_id(&flow->generation, linimo_flow_backend(found));
  }
  if (!is_usable(flow, flow->target)) flow->target = target_of_unknown(flow, 0);
  return flow->target ? kSend : drop(flow, LINIMO_OUTCOME_no_backend);
}

/* A fragment without ports follows the first of its datagram, goes to the node that handles it, or waits in
 * the process. */
static __always_inline int take_later_fragment(struct xdp_md* ctx, struct flow* flow) {
  flow->hash = datagram_hash(flow->generation.head, &flow->packet);
  LINIMO_TELL(told.hash = flow->hash;)
  const __u64 word = recall_datagram(flow->hash, flow->row);
  if (word == 0) {
    if (pass_on(flow)) return kSend;
    if (!may_be_handed(ctx)) return drop(flow, LINIMO_OUTCOME_fragmented_frame);
    const int action = hand_to_process(ctx, flow->row, flow->hash, 0);
    return action == XDP_REDIRECT ? action : drop(flow, LINIMO_OUTCOME_fragment_unmatched);
  }
  flow->service_id = linimo_fragment_service(word);
  LINIMO_TELL(told.reached = LINIMO_TRACE_ALLOWED; told.service = flow->service_id;
              told.decider = LINIMO_TRACE_BY_FRAGMENT;)
  flow->target = target_of_id(&flow->generation, linimo_fragment_backend(word));
  return has_service(flow->generation.head, flow->service_id) && flow->target && flow->target->alive
             ? kSend
             : drop(flow, LINIMO_OUTCOME_fragment_unmatched);
}

/* The first buffer ends before the IP header does. */
static __always_inline int cut(struct xdp_md* ctx, struct flow* flow) {
  struct words* to = &flow->copy->destination;
  *to = (struct words){};
  const int kind = cut_destination(ctx, port_mac, to);
  if (kind == kCutOther || !find_vip(&flow->generation, to, kind == kCutV4)) return to_kernel(ctx, flow);
  return drop(flow, LINIMO_OUTCOME_fragmented_frame);
}

static __always_inline int linimo_forward(struct xdp_md* ctx) {
  struct packet copy;
  struct flow flow = {.sent = LINIMO_OUTCOME_forwarded, .copy = &copy};
  struct packet* p = &flow.packet;
  LINIMO_UNTRACED(flow.row = row_of_queue(ctx->rx_queue_index);)
  LINIMO_TELL(flow.row = first_row;)
  const int live = live_generation(&flow.generation);
  p->passed =
      live && flow.generation.head->node_slots != 0 ? take_off_tunnel(ctx, flow.generation.active) : 0;
  LINIMO_TELL(told.passed = p->passed;)
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  p->frame_length = bpf_xdp_get_buff_len(ctx);

  // Is it for a VIP? Only then may it be judged.
  void* header = live ? locate(data, data_end, p) : 0;
  LINIMO_TELL(told.reached = header ? LINIMO_TRACE_LOCATED : LINIMO_TRACE_NOTHING;
              if (header && linimo_is_addressed_to(*(const __u64*)data, port_mac)) told.reached =
                  LINIMO_TRACE_ADDRESSED;)
  if (!header && live && p->frame_length != first_buffer(ctx)) return cut(ctx, &flow);
  if (!header || !may_be_vip(flow.generation.head, &p->destination, !p->v6)) return to_kernel(ctx, &flow);
  if (!linimo_is_addressed_to(*(const __u64*)data, port_mac)) return to_kernel(ctx, &flow);
  if (p->v6 && is_v4_words(&p->destination))  // ::ffff:a.b.c.d on the wire is no VIP's address
    return to_kernel(ctx, &flow);
  const struct linimo_xdp_vip* vip = find_vip(&flow.generation, &p->destination, !p->v6);
  if (!vip) return to_kernel(ctx, &flow);
  LINIMO_TELL(told.reached = LINIMO_TRACE_TO_VIP; told.vip_bits = vip->bits;)

  int verdict = 0;
  if (p->v6) {
    in_memory(&flow);
    verdict = judge_v6(ctx, &copy);
    *p = copy;
  } else {
    verdict = judge_v4(header, data, data_end, p);
  }
  LINIMO_TELL(told.verdict = verdict; told.inner_length = p->ip_length;
              told.source =
                  verdict == LINIMO_VERDICT_MARTIAN ? LINIMO_TRACE_SOURCE_MARTIAN
                  : verdict < LINIMO_VERDICT_MALFORMED && is_impostor(&flow.generation, &p->source, !p->v6)
                      ? LINIMO_TRACE_SOURCE_OWN
                      : LINIMO_TRACE_SOURCE_FINE;)
  if (verdict == kVerdictCut) return drop(&flow, LINIMO_OUTCOME_fragmented_frame);
  if (verdict == LINIMO_VERDICT_MALFORMED) return drop(&flow, LINIMO_OUTCOME_malformed);
  if (verdict == LINIMO_VERDICT_BAD_CHECKSUM) return drop(&flow, LINIMO_OUTCOME_bad_checksum);
  if (verdict == LINIMO_VERDICT_MARTIAN || is_impostor(&flow.generation, &p->source, !p->v6))
    return drop(&flow, LINIMO_OUTCOME_martian);
  LINIMO_TELL(told.reached = LINIMO_TRACE_SOUND;)
  if (verdict == LINIMO_VERDICT_OTHER) p->destination_port = 0;

  const int action = verdict == LINIMO_VERDICT_ICMP             ? take_icmp(ctx, &flow, vip)
                     : verdict == LINIMO_VERDICT_LATER_FRAGMENT ? take_later_fragment(ctx, &flow)
                                                                : take_flow(ctx, &flow, vip);
  return action == (int)kSend ? send(ctx, &flow) : action;
}

#ifdef LINIMO_TRACED
SEC("xdp.frags")
int linimo_trace(struct xdp_md* ctx) {
  return linimo_forward(ctx);
}
#elif !defined(LINIMO_CAPTURED)

/* The whole path, of each interface: by tail call, which leaves it all of the stack. */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, LINIMO_MAX_PORTS);
  __type(key, __u32);
  __type(value, __u32);
} whole_paths SEC(".maps");

SEC("xdp.frags")
int linimo_whole(struct xdp_md* ctx) {
  return linimo_forward(ctx);
}

SEC("xdp.frags")
int linimo(struct xdp_md* ctx) {
  const int action = straight(ctx);
  if (action != (int)kWholePath) return action;
  bpf_tail_call(ctx, &whole_paths, port_number);
  return XDP_PASS;  // the program is being taken off
}
#endif

char _license[] SEC("license") = "Dual BSD/GPL";
