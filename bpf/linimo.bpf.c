// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// The XDP engine: the life of a packet, top to bottom. The same rules, the same bytes out as the DPDK
// engine's (dataplane/forward/pipeline.cc); tests/packets holds both to it.
//
// All that can differ between two installations is data in maps; `port_number`, `first_row` and the
// connection tables' size are set when the program is loaded for an interface.

#include "connections.h"
#include "encapsulate.h"

/* What one stage leaves for the next. */
struct flow {
  struct packet packet;
  struct generation generation;
  const struct linimo_xdp_service* service;
  const struct linimo_xdp_target* target;
  __u64 hash;
  __u32 row;
};

static __always_inline int drop(const struct flow* flow, enum linimo_outcome reason) {
  count_outcome(flow->row, reason);
  return XDP_DROP;
}

/* Does the host's control traffic need this frame (ARP, neighbour discovery, MLD, LLDP, BGP, BFD)? */
static __noinline int is_control(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  __u32 at;
  const __be16 type = link_header(data, data_end, &at);
  if (type == bpf_htons(ETH_P_ARP) || type == bpf_htons(ETH_P_LLDP)) return 1;
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
      at += 8 + options[1] * 8;
    }
  } else {
    return 0;
  }
  __be16* ports = data + at;
  if ((void*)(ports + 2) > data_end) return 0;
  if (protocol == IPPROTO_ICMPV6) {
    const __u8 message = *(__u8*)ports;
    return (message >= 130 && message <= 137) || message == 143;  // MLD, ND, RA, redirect
  }
  if (protocol == IPPROTO_TCP) return ports[0] == bpf_htons(179) || ports[1] == bpf_htons(179);
  if (protocol != IPPROTO_UDP) return 0;
  for (int i = 0; i < 2; ++i) {  // BFD, RFC 5881, 5883, 7130
    const __u16 port = bpf_ntohs(ports[i]);
    if (port == 3784 || port == 3785 || port == 4784 || port == 6784) return 1;
  }
  return 0;
}

static __always_inline int to_kernel(struct xdp_md* ctx, const struct flow* flow) {
  count_outcome(flow->row, is_control(ctx) ? LINIMO_OUTCOME_kernel_control : LINIMO_OUTCOME_kernel);
  return XDP_PASS;
}

static __always_inline void hash_packet(struct flow* flow) {
  const struct packet* p = &flow->packet;
  struct flow_key key = {p->source, {0, 0}, 0, 0, 0, 0};
  if (!flow->service->source_hash) {
    key.destination = p->destination;
    key.source_port = p->source_port;
    key.destination_port = p->destination_port;
    key.protocol = p->protocol;
  }
  flow->hash = hash_flow(flow->generation.head, &key, p->v6);
}

/* The backend: the one that the flow is tracked to while that lives, else the table's. */
static __always_inline int choose(struct flow* flow) {
  const struct linimo_xdp_service* service = flow->service;
  const int rst = flow->packet.tcp_flags & kTcpRst;
  struct wanted_flow want = {flow->hash, flow->row, service->id, service->idle_ticks, 0};
  struct tracked found = {};
  if (service->tracked) {
    want.now = ticks_now();
    if (find_flow(&want, &found)) {
      flow->target = target_of_id(&flow->generation, backend_of(&found));
      if (flow->target && flow->target->pool == service->pool && flow->target->alive) {
        // RST only looks up: a forged one must not be able to shorten or lengthen anything.
        if (!rst) touch(&found, flow->row, flow->packet.tcp_flags & kTcpFin, want.now);
        return 1;
      }
    }
  }
  flow->target = target_of_slot(&flow->generation, service, flow->hash);
  if (!flow->target) return 0;
  if (found.word != 0) {
    redirect_flow(&found, flow->row, flow->target->backend_id);
  } else if (service->tracked && !rst) {
    // No room is no reason to drop: the flow's next packet will take the same slot.
    if (insert_flow(&want, flow->target->backend_id))
      count_new_flow(flow->row, service->id, flow->target->backend_id);
    else
      count_unstored(flow->row);
  }
  return 1;
}

/* Into the tunnel and onto the wire. */
static __always_inline int send(struct xdp_md* ctx, struct flow* flow) {
  const struct linimo_xdp_target* target = flow->target;
  struct way_out way;
  const int reachable = way_to(target->backend_id, &way);
  if (reachable != LINIMO_OUTCOME_forwarded) return drop(flow, reachable);
  if (flow->packet.ip_length + target->header_length > way.mtu) return drop(flow, LINIMO_OUTCOME_too_big);
  const struct linimo_xdp_port* port = bpf_map_lookup_elem(&ports, &way.port);
  if (!port) return drop(flow, LINIMO_OUTCOME_wrong_egress);
  if (!encapsulate(ctx, target, &flow->packet, &way, port, flow->hash))
    return drop(flow, LINIMO_OUTCOME_tx_full);
  count_traffic(flow->row, kCountersServices + flow->service->id, flow->packet.ip_length);
  count_traffic(flow->row, kCountersBackends + target->backend_id, flow->packet.ip_length);
  count_outcome(flow->row, LINIMO_OUTCOME_forwarded);
  return way.port == port_number ? XDP_TX : bpf_redirect(port->ifindex, 0);
}

static __always_inline int linimo_forward(struct xdp_md* ctx) {
  struct flow flow = {};
  struct packet* p = &flow.packet;
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  flow.row = first_row + ctx->rx_queue_index;
  p->frame_length = data_end - data;

  // Is it for a VIP? Only then may it be judged.
  __be16 type;
  if (!live_generation(&flow.generation) || !locate(data, data_end, p, &type)) return to_kernel(ctx, &flow);
  if (p->v6 && is_v4_words(&p->destination))  // ::ffff:a.b.c.d on the wire is no VIP's address
    return to_kernel(ctx, &flow);
  const struct linimo_xdp_vip* vip = find_vip(&flow.generation, &p->destination);
  if (!vip) return to_kernel(ctx, &flow);

  switch (p->v6 ? judge_v6(ctx, p) : judge_v4(data, data_end, p)) {
    case kFlow:
      break;
    case kIcmpPacket:
      return to_kernel(ctx, &flow);
    case kLaterFragment:
      return drop(&flow, LINIMO_OUTCOME_fragment_unmatched);
    case kMalformed:
      return drop(&flow, LINIMO_OUTCOME_malformed);
    case kBadChecksum:
      return drop(&flow, LINIMO_OUTCOME_bad_checksum);
    case kMartian:
      return drop(&flow, LINIMO_OUTCOME_martian);
    default:
      p->destination_port = 0;
      break;
  }
  if (find_vip(&flow.generation, &p->source)) return drop(&flow, LINIMO_OUTCOME_martian);

  flow.service = find_service(&flow.generation, vip, p->protocol, bpf_ntohs(p->destination_port));
  if (!flow.service) {
    // The host may have the address too. If it has not, its kernel would route the packet back: a loop.
    if (is_host_address(&flow.generation, &p->destination)) return to_kernel(ctx, &flow);
    return drop(&flow, LINIMO_OUTCOME_no_service);
  }
  if (flow.service->source_count != 0 && !is_allowed(&flow.generation, flow.service, &p->source))
    return drop(&flow, LINIMO_OUTCOME_not_allowed);

  hash_packet(&flow);
  if (!choose(&flow)) return drop(&flow, LINIMO_OUTCOME_no_backend);
  return send(ctx, &flow);
}

SEC("xdp")
int linimo(struct xdp_md* ctx) {
  return linimo_forward(ctx);
}

char _license[] SEC("license") = "Dual BSD/GPL";
