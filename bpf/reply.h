/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Replies that Linimo makes itself: echo, "too big", and what `no_backend = "reject"` sends. Each turns the
 * frame into its answer where it lies, with the frame's own VLAN tags and the MAC addresses swapped.
 *
 * Each function returns 0 when the frame is the answer. On anything else the frame may be half changed and
 * must be dropped. They are global functions for the verifier's sake, and off the fast path for the cache's.
 */
#ifndef LINIMO_BPF_REPLY_H
#define LINIMO_BPF_REPLY_H

#include "icmp.h"
#include "maglev/rules/reply.h"
#include "packet.h"
#include "sum.h"

/* Link header, 14 to 22 bytes; those behind it are overwritten later. */
struct link_copy {
  __u8 bytes[24];
};

static __always_inline void swap_macs(__u8* macs) {
  __u8 destination[6];
  __builtin_memcpy(destination, macs, 6);
  __builtin_memcpy(macs, macs + 6, 6);
  __builtin_memcpy(macs + 6, destination, 6);
}

/* Cuts or grows the frame at its end. */
static __always_inline int resize(struct xdp_md* ctx, __u32 length) {
  const __u32 now = bpf_xdp_get_buff_len(ctx);
  return now == length ? 0 : bpf_xdp_adjust_tail(ctx, (int)length - (int)now);
}

/* An IP header of the packet's family for `payload` bytes, from the packet's destination back to its source,
 * as dataplane/packet/reply.cc writes it. Returns its length. */
static __always_inline __u32 write_ip(const struct packet* p, __u8 protocol, __u8 tos, __u32 payload,
                                      void* at) {
  if (p->v6) {
    struct ipv6hdr* ip = at;
    __builtin_memset(ip, 0, sizeof *ip);
    ip->version = 6;
    ip->payload_len = bpf_htons(payload);
    ip->nexthdr = protocol;
    ip->hop_limit = LINIMO_REPLY_TTL;
    __builtin_memcpy(&ip->saddr, &p->destination, 16);
    __builtin_memcpy(&ip->daddr, &p->source, 16);
    return sizeof *ip;
  }
  struct iphdr* ip = at;
  __builtin_memset(ip, 0, sizeof *ip);
  ip->version = 4;
  ip->ihl = 5;
  ip->tos = tos;
  ip->tot_len = bpf_htons(sizeof *ip + payload);
  ip->frag_off = LINIMO_DONT_FRAGMENT;
  ip->ttl = LINIMO_REPLY_TTL;
  ip->protocol = protocol;
  ip->saddr = p->destination.low >> 32;
  ip->daddr = p->source.low >> 32;
  const __u16* half = at;
  __u64 sum = 0;
  for (int i = 0; i < 10; ++i) sum += half[i];
  ip->check = linimo_checksum_finish(sum);
  return sizeof *ip;
}

/* Answers an echo request: nothing but addresses, TTL, type and checksums changes. */
__noinline int reply_to_echo(struct xdp_md* ctx, const struct packet* p) {
  if (!p) return -1;
  const __u32 ip_at = p->ip;
  if (ip_at > kMaxLinkHeader || resize(ctx, ip_at + p->ip_length)) return -1;
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  if (data + 12 > data_end) return -1;
  swap_macs(data);
  if (p->v6) {
    struct ipv6hdr* ip = data + ip_at;
    if ((void*)(ip + 1) > data_end) return -1;
    __builtin_memcpy(&ip->saddr, &p->destination, 16);
    __builtin_memcpy(&ip->daddr, &p->source, 16);
    ip->hop_limit = LINIMO_REPLY_TTL;
  } else {
    struct iphdr* ip = data + ip_at;
    if ((void*)(ip + 1) > data_end) return -1;
    ip->saddr = p->destination.low >> 32;
    ip->daddr = p->source.low >> 32;
    __u16* ttl = (__u16*)&ip->ttl;  // with the protocol behind it
    const __u16 before = *ttl;
    ip->ttl = LINIMO_REPLY_TTL;
    ip->check = linimo_checksum_changed(ip->check, before, *ttl);
  }

  __u16 icmp[2];  // type and code, checksum
  const __u32 at = ip_at + p->l4;
  if (bpf_xdp_load_bytes(ctx, at, icmp, sizeof icmp)) return -1;
  const __u16 before = icmp[0];
  icmp[0] = p->v6 ? LINIMO_ECHO_REPLY6 : LINIMO_ECHO_REPLY;  // the code is 0
  icmp[1] = linimo_checksum_never_zero(linimo_checksum_changed(icmp[1], before, icmp[0]));
  return bpf_xdp_store_bytes(ctx, at, icmp, sizeof icmp) ? -1 : 0;
}

struct icmp_answer {
  __u16 type_code;
  __be16 checksum;
  __be32 rest; /* next-hop MTU, or unused */
};

static __always_inline __u32 quoted_length(const struct packet* p) {
  return linimo_quoted_length(p->v6, p->ip_length);
}

/* Answers with an ICMP error. `type_code`: both, as they lie in memory; `quote_sum`: frame_sum of what it
 * quotes, by the caller, because all frames of nested calls share 512 bytes of stack. */
__noinline int reply_with_icmp(struct xdp_md* ctx, const struct packet* p, __u32 type_code, __u32 rest,
                               __u32 quote_sum) {
  if (!p || p->ip > kMaxLinkHeader) return -1;
  const __u32 quoted = quoted_length(p);
  const __u32 headers = (p->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct icmp_answer);

  // The frame grows at its front; the link header follows, the quoted packet stays where it is.
  struct link_copy link;
  if (bpf_xdp_load_bytes(ctx, 0, &link, sizeof link) || bpf_xdp_adjust_head(ctx, -(int)headers)) return -1;
  if (resize(ctx, p->ip + headers + quoted)) return -1;
  swap_macs(link.bytes);
  if (bpf_xdp_store_bytes(ctx, 0, &link, sizeof link)) return -1;

  struct icmp_answer icmp = {.type_code = type_code, .rest = bpf_htonl(rest)};
  __u64 sum = (__u64)quote_sum + icmp.type_code + icmp.rest;
  if (p->v6) sum += addresses_sum(p) + linimo_checksum_pseudo(IPPROTO_ICMPV6, sizeof icmp + quoted);
  icmp.checksum = linimo_checksum_finish(sum);
  __u8 answer[sizeof(struct ipv6hdr) + sizeof(struct icmp_answer)] = {};
  if (p->v6) {
    write_ip(p, IPPROTO_ICMPV6, 0, sizeof icmp + quoted, answer);
    __builtin_memcpy(answer + sizeof(struct ipv6hdr), &icmp, sizeof icmp);
    return bpf_xdp_store_bytes(ctx, p->ip, answer, sizeof(struct ipv6hdr) + sizeof icmp) ? -1 : 0;
  }
  write_ip(p, IPPROTO_ICMP, LINIMO_REPLY_TOS, sizeof icmp + quoted, answer);
  __builtin_memcpy(answer + sizeof(struct iphdr), &icmp, sizeof icmp);
  return bpf_xdp_store_bytes(ctx, p->ip, answer, sizeof(struct iphdr) + sizeof icmp) ? -1 : 0;
}

/* `rest`: of a too big packet's, the MTU of its way without the tunnel's headers. */
static __always_inline int reply_about(struct xdp_md* ctx, const struct packet* p,
                                       enum linimo_error_kind kind, __u32 rest) {
  const int sum = frame_sum(ctx, p->ip, quoted_length(p));
  return sum < 0 ? -1 : reply_with_icmp(ctx, p, linimo_type_and_code(p->v6, kind), rest, sum);
}

/* Answers a TCP segment without RST with one. Each header is put together in the place of
 * the one before it, for the sake of the stack. */
__noinline int reply_with_reset(struct xdp_md* ctx, const struct packet* p) {
  if (!p || p->ip > kMaxLinkHeader) return -1;
  struct tcphdr tcp;
  if (bpf_xdp_load_bytes(ctx, p->ip + p->l4, &tcp, sizeof tcp)) return -1;
  const __be16 from = tcp.dest, to = tcp.source;
  const struct linimo_reset reset =
      linimo_reset_for(tcp.seq, tcp.ack_seq, ((const __u8*)&tcp)[13], p->ip_length - p->l4 - tcp.doff * 4);
  __builtin_memset(&tcp, 0, sizeof tcp);
  tcp.source = from;
  tcp.dest = to;
  tcp.seq = reset.sequence;
  tcp.ack_seq = reset.acknowledgement;
  tcp.doff = sizeof tcp / 4;
  ((__u8*)&tcp)[13] = reset.flags;
  const __u16* half = (void*)&tcp;
  __u64 sum = addresses_sum(p) + linimo_checksum_pseudo(IPPROTO_TCP, sizeof tcp);
  for (int i = 0; i < 10; ++i) sum += half[i];
  tcp.check = linimo_checksum_finish(sum);

  const __u32 ip_header = p->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
  if (resize(ctx, p->ip + ip_header + sizeof tcp)) return -1;
  void* data = (void*)(long)ctx->data;
  if (data + 12 > (void*)(long)ctx->data_end) return -1;
  swap_macs(data);
  if (bpf_xdp_store_bytes(ctx, p->ip + ip_header, &tcp, sizeof tcp)) return -1;
  __u8 ip[sizeof(struct ipv6hdr)] = {};
  write_ip(p, IPPROTO_TCP, 0, sizeof tcp, ip);
  return bpf_xdp_store_bytes(ctx, p->ip, ip, p->v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) ? -1 : 0;
}

#endif
