/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Fragments between the nodes of a fleet (maglev/rules/passing.h). The other engine's are
 * dataplane/forward/passing.cc.
 */
#ifndef LINIMO_BPF_PASSING_H
#define LINIMO_BPF_PASSING_H

#include "choice.h"
#include "encapsulate.h"
#include "maglev/rules/passing.h"

/* Does a node's tunnel have a way that takes a packet of so many bytes, the outer header among them? */
__noinline int has_way(__u32 backend_id, __u32 length) {
  const struct linimo_next_hop* hop = bpf_map_lookup_elem(&next_hops, &backend_id);
  return hop && linimo_next_hop_state_of(*(const volatile __u64*)&hop->way) == LINIMO_NEXT_HOP_RESOLVED &&
         length <= *(const volatile __u32*)&hop->mtu;
}

/* To the node that handles the datagram's fragments, if that is another. Who has no way to it that takes the
 * fragment does what it can. */
static __always_inline int pass_on(struct flow* flow) {
  const struct linimo_xdp_head* head = flow->generation.head;
  const struct packet* p = &flow->packet;
  if (p->passed || head->node_slots == 0) return 0;
  const __u64 hash =
      hash_addresses(head, &p->source, &p->destination, linimo_handler_key_end(p->v6, p->protocol), p->v6);
  const linimo_slot slot =
      slot_at(&flow->generation, head->node_slots, linimo_slot_of(hash, head->node_table_size));
  if (slot == LINIMO_NO_BACKEND) return 0;
  const struct linimo_xdp_target* node = target_at(&flow->generation, head->node_target_first + slot);
  if (!node || !has_way(node->backend_id, p->ip_length + node->header_length)) return 0;
  flow->target = node;
  flow->hash = hash;
  flow->service_id = LINIMO_PASSED_SERVICE;
  flow->sent = LINIMO_OUTCOME_fragment_passed;
  flow->packet.ip_fragment |= LINIMO_DONT_FRAGMENT;  // of the tunnel, so that a router says what is too long
  LINIMO_TELL(told.hash = hash; told.decider = LINIMO_TRACE_BY_HANDLER;)
  return 1;
}

/* An address of this node that other nodes' tunnels lead to. */
static __always_inline int is_tunnel_end(const struct linimo_xdp_head* head, const struct words* address) {
  if (is_v4_words(address)) return head->tunnel_end4 != 0 && address->low == head->tunnel_end4;
  return address->high == head->tunnel_end6[0] && address->low == head->tunnel_end6[1];
}

/* A packet in a tunnel from another node, as the steps hand it on, of which each has a frame of its own:
 * those of nested calls share the stack. */
enum {
  kNoTunnel = 0,
  kTunnelIp = 0x1f, /* offset of the outer IP header */
  kTunnelOuter6 = 0x20,
  kTunnelInner6 = 0x40,
};

static __always_inline __u32 inner_offset(__u32 tunnel) {
  return (tunnel & kTunnelIp) + (tunnel & kTunnelOuter6 ? LINIMO_IPV6_HEADER : LINIMO_IPV4_HEADER) +
         LINIMO_GRE_HEADER;
}

/* Is it a tunnel to this node, which may be another's? */
__noinline __u32 tunnel_of(struct xdp_md* ctx, __u32 active) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct generation generation;
  if (!same_generation(&generation, active)) return kNoTunnel;
  __u32 at, gre;
  const __be16 type = link_header(data, data_end, &at);
  const __u32* ip = data + at;
  const __u32 available = bpf_xdp_get_buff_len(ctx) - at;
  struct words destination;
  if (type == bpf_htons(ETH_P_IP)) {
    if ((void*)(ip + 6) > data_end || !linimo_may_be_passed4(ip[0], ip[1], ip[2], available) ||
        !header_checksum_holds(ip, data_end, LINIMO_IPV4_HEADER))
      return kNoTunnel;
    destination = words_of_v4(ip[4]);
    gre = ip[5];
  } else {
    if (type != bpf_htons(ETH_P_IPV6) || (void*)(ip + 11) > data_end ||
        !linimo_may_be_passed6(ip[1], available))
      return kNoTunnel;
    __builtin_memcpy(&destination, ip + 6, sizeof destination);
    if (is_v4_words(&destination)) return kNoTunnel;  // ::ffff:a.b.c.d on the wire is nobody
    gre = ip[10];
    at |= kTunnelOuter6;
  }
  if (gre == linimo_gre_header(1))
    at |= kTunnelInner6;
  else if (gre != linimo_gre_header(0))
    return kNoTunnel;
  return linimo_is_addressed_to(*(const __u64*)data, port_mac) && is_tunnel_end(generation.head, &destination)
             ? at
             : kNoTunnel;
}

static long is_that_node(__u32 index, struct host_search* search) {
  const __u64* node =
      (void*)image_cell(&search->generation, search->generation.head->node_target_first + index);
  if (!node) return 1;
  search->found = node[2] == search->address.high && node[3] == search->address.low;  // the destination
  return search->found;
}

/* Is it from one? */
__noinline int is_from_node(struct xdp_md* ctx, __u32 active, __u32 tunnel) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct host_search search = {};
  const __u32* ip = data + LINIMO_BOUND(tunnel, kTunnelIp);
  if ((void*)(ip + 6) > data_end || !same_generation(&search.generation, active)) return 0;
  if (tunnel & kTunnelOuter6) {
    __builtin_memcpy(&search.address, ip + 2, sizeof search.address);
    if (is_v4_words(&search.address)) return 0;
  } else {
    search.address = words_of_v4(ip[3]);
  }
  bpf_loop(search.generation.head->node_count, is_that_node, &search, 0);
  return search.found;
}

/* Does it hold a packet to a VIP? */
__noinline int holds_packet_to_vip(struct xdp_md* ctx, __u32 active, __u32 tunnel) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct vip_search search = {.at = LINIMO_NO_CELL};
  const __u32* ip = data + LINIMO_BOUND(inner_offset(tunnel), 127);
  if (tunnel & kTunnelInner6) {
    if ((void*)(ip + 10) > data_end) return 0;
    __builtin_memcpy(&search.address, ip + 6, sizeof search.address);
    if (is_v4_words(&search.address)) return 0;
  } else {
    if ((void*)(ip + 5) > data_end) return 0;
    search.address = words_of_v4(ip[4]);
    search.v4 = 1;
  }
  if (!same_generation(&search.generation, active)) return 0;
  search_lengths(&search);
  return search.at != LINIMO_NO_CELL;
}

/* The packet becomes what it was. */
__noinline int take_off(struct xdp_md* ctx, __u32 tunnel) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  if (data + ETH_HLEN > data_end) return 0;
  const __u64 first = *(const __u64*)data;
  const __u32 next = *(const __u32*)(data + 8);
  if (bpf_xdp_adjust_head(ctx, (int)inner_offset(tunnel) - ETH_HLEN)) return 0;
  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  if (data + ETH_HLEN > data_end) return 0;
  *(__u64*)data = first;
  *(__u32*)(data + 8) = next;
  *(__be16*)(data + 12) = tunnel & kTunnelInner6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
  return 1;
}

/* What another node has passed on becomes what it was; 0: it is no such packet, and nothing has changed. What
 * else comes through a tunnel between nodes is the kernel's. */
static __always_inline int take_off_tunnel(struct xdp_md* ctx, __u32 active) {
  const __u32 tunnel = tunnel_of(ctx, active);
  return tunnel != kNoTunnel && is_from_node(ctx, active, tunnel) &&
         holds_packet_to_vip(ctx, active, tunnel) && take_off(ctx, tunnel);
}

#endif
