/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Into the tunnel and onto the wire: the frame becomes Ethernet with the tags of the route, outer header,
 * inner packet. The inner packet is not altered in any byte; the old link header and padding go. What the
 * outer header says: maglev/rules/tunnel.h.
 */
#ifndef LINIMO_BPF_ENCAPSULATE_H
#define LINIMO_BPF_ENCAPSULATE_H

#include "count.h"
#include "gue.h"
#include "maglev/rules/next_hop.h"
#include "maglev/rules/tunnel.h"

/* What follows the outer IP header, if anything: GRE, or GUE's UDP header with its checksum still zero. */
static __always_inline int write_shim(void* at, void* data_end, const struct linimo_xdp_target* target,
                                      int inner_v6, __u32 inner_length, __u64 hash) {
  __u32* word = at;
  if (target->encapsulation == LINIMO_ENCAP_GRE) {
    if ((void*)(word + 1) > data_end) return 0;
    *word = linimo_gre_header(inner_v6);
  } else if (target->encapsulation == LINIMO_ENCAP_GUE) {
    if ((void*)(word + 2) > data_end) return 0;
    const struct linimo_gue gue = linimo_gue_header(target->gue_port, inner_length, hash);
    word[0] = gue.ports;
    word[1] = gue.length_and_checksum;
  }
  return 1;
}

static __always_inline int write_outer_v4(void* at, void* data_end, const struct linimo_xdp_target* target,
                                          const struct packet* p, __u64 hash) {
  __u32* word = at;
  if ((void*)(word + 5) > data_end) return 0;
  const struct linimo_outer4 outer =
      linimo_outer4_of(p->v6, (__u32)p->traffic_class << 8, p->ip_id | (__u32)p->ip_fragment << 16,
                       p->v6 ? target->protocol6 : target->protocol4, p->ip_length + target->header_length,
                       target->checksum_base, target->source_hash_mask, hash);
  word[0] = outer.version_to_length;
  word[1] = outer.id_and_fragment;
  word[2] = outer.ttl_to_checksum;
  word[3] = target->source[3] | outer.source;
  word[4] = target->destination[3];
  return write_shim(word + 5, data_end, target, p->v6, p->ip_length, hash);
}

static __always_inline int write_outer_v6(void* at, void* data_end, const struct linimo_xdp_target* target,
                                          const struct packet* p, __u64 hash, __u32 inner_sum) {
  struct ipv6hdr* ip = at;
  if ((void*)(ip + 1) > data_end) return 0;
  const struct linimo_outer6 outer =
      linimo_outer6_of(p->traffic_class, p->v6 ? target->protocol6 : target->protocol4,
                       p->ip_length + target->header_length - sizeof *ip, hash);
  const __u64 source_bits = linimo_source_bits6(target->source_hash_mask, hash);
  __u32* word = at;
  word[0] = outer.version_to_label;
  word[1] = outer.length_to_hops;
  word[2] = target->source[0];
  word[3] = target->source[1];
  word[4] = target->source[2] | (__u32)source_bits;
  word[5] = target->source[3] | (__u32)(source_bits >> 32);
  for (int i = 0; i < 4; ++i) word[6 + i] = target->destination[i];
  if (!write_shim(ip + 1, data_end, target, p->v6, p->ip_length, hash)) return 0;
  if (target->encapsulation == LINIMO_ENCAP_GUE) {
    struct udphdr* udp = (void*)(ip + 1);
    if ((void*)(udp + 1) > data_end) return 0;
    const __u32* address = (void*)&ip->saddr;
    __u64 sum = (__u64)inner_sum + linimo_checksum_pseudo(IPPROTO_UDP, bpf_ntohs(udp->len)) + udp->source +
                udp->dest + udp->len;
    for (int i = 0; i < 8; ++i) sum += address[i];
    udp->check = linimo_checksum_never_zero(linimo_checksum_finish(sum));
  }
  return 1;
}

struct way_out {
  __u64 mac, tags; /* as in linimo_next_hop */
  __u32 port;
  __u32 mtu;
};

/* The next hop of a backend; an outcome where there is none. */
static __always_inline int way_to(__u32 backend_id, struct way_out* way) {
  const struct linimo_next_hop* hop = bpf_map_lookup_elem(&next_hops, &backend_id);
  if (!hop) return LINIMO_OUTCOME_no_route;
  const __u64 word = *(const volatile __u64*)&hop->way;
  way->mac = word;
  way->port = linimo_next_hop_port(word);
  way->tags = *(const volatile __u64*)&hop->tags;
  way->mtu = *(const volatile __u32*)&hop->mtu;
  return linimo_next_hop_outcome(linimo_next_hop_state_of(word));
}

/* Ethernet and tags; gives where the outer header is to stand, or null. */
static __always_inline void* write_link(void* data, void* data_end, const struct way_out* way,
                                        const struct linimo_xdp_port* port, int outer_v6) {
  struct ethhdr* ethernet = data;
  if ((void*)(ethernet + 1) > data_end) return 0;
  // In as few stores as there can be: struct ethhdr is packed, through it each byte would have its own.
  *(__u64*)data = (way->mac & 0xffffffffffff) | (__u64) * (const __u16*)port->mac << 48;
  *(__u32*)(data + 8) = *(const __u32*)(port->mac + 2);
  const __be16 type = outer_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
  const __u32 length = linimo_tags_length(way->tags);
  __be16* word = data + __builtin_offsetof(struct ethhdr, h_proto);
  if (length == 0) {
    *word = type;
    return ethernet + 1;
  }
  if ((void*)(word + 3) > data_end) return 0;
  word[0] = way->tags;
  word[1] = way->tags >> 16;
  if (length == 4) {
    word[2] = type;
    return word + 3;
  }
  if ((void*)(word + 5) > data_end) return 0;
  word[2] = way->tags >> 32;
  word[3] = way->tags >> 48;
  word[4] = type;
  return word + 5;
}

/* The frame, encapsulated. 0: there was no room in front of it, which a driver's headroom makes impossible.
 * `inner_sum`: packet_sum(), for GUE over IPv6. */
static __always_inline int encapsulate(struct xdp_md* ctx, const struct linimo_xdp_target* target,
                                       const struct packet* p, const struct way_out* way,
                                       const struct linimo_xdp_port* port, __u64 hash, __u32 inner_sum) {
  const __u32 padding = p->frame_length - p->ip - p->ip_length;
  if (padding != 0 && bpf_xdp_adjust_tail(ctx, -(int)padding)) return 0;
  const int growth =
      sizeof(struct ethhdr) + linimo_tags_length(way->tags) + target->header_length - (int)p->ip;
  if (bpf_xdp_adjust_head(ctx, -growth)) return 0;
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  void* outer = write_link(data, data_end, way, port, target->outer_v6);
  if (!outer) return 0;
  return target->outer_v6 ? write_outer_v6(outer, data_end, target, p, hash, inner_sum)
                          : write_outer_v4(outer, data_end, target, p, hash);
}

#endif
