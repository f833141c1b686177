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
#include "packet.h"
#include "sum.h"

enum {
  kReplyTtl = 64,
  kReplyTos = 0xc0,   // internetwork control, RFC 1812, 4.3.2.5
  kMaxReply4 = 576,   // RFC 1812, 4.3.2.3
  kLeastMtu4 = 68,    // RFC 791
  kLeastMtu6 = 1280,  // RFC 8200
  kMaxReply6 = 1280,  // RFC 4443, 3.2
};

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
  const __u32 now = ctx->data_end - ctx->data;
  return now == length ? 0 : bpf_xdp_adjust_tail(ctx, (int)length - (int)now);
}

/* An IP header of the packet's family for `payload` bytes, from the packet's destination back to its source.
 * Returns its length. */
static __always_inline __u32 write_ip(const struct packet* p, __u8 protocol, __u8 tos, __u32 payload,
                                      void* at) {
  if (p->v6) {
    struct ipv6hdr* ip = at;
    __builtin_memset(ip, 0, sizeof *ip);
    ip->version = 6;
    ip->payload_len = bpf_htons(payload);
    ip->nexthdr = protocol;
    ip->hop_limit = kReplyTtl;
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
  ip->ttl = kReplyTtl;
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
    ip->hop_limit = kReplyTtl;
  } else {
    struct iphdr* ip = data + ip_at;
    if ((void*)(ip + 1) > data_end) return -1;
    ip->saddr = p->destination.low >> 32;
    ip->daddr = p->source.low >> 32;
    __u16* ttl = (__u16*)&ip->ttl;  // with the protocol behind it
    const __u16 before = *ttl;
    ip->ttl = kReplyTtl;
    ip->check = linimo_checksum_changed(ip->check, before, *ttl);
  }

  __u16 icmp[2];  // type and code, checksum
  const __u32 at = ip_at + p->l4;
  if (bpf_xdp_load_bytes(ctx, at, icmp, sizeof icmp)) return -1;
  const __u16 before = icmp[0];
  icmp[0] = p->v6 ? kEchoReply6 : kEchoReply;  // the code is 0
  icmp[1] = linimo_checksum_never_zero(linimo_checksum_changed(icmp[1], before, icmp[0]));
  return bpf_xdp_store_bytes(ctx, at, icmp, sizeof icmp) ? -1 : 0;
}

struct icmp_answer {
  __u16 type_code;
  __be16 checksum;
  __be32 rest; /* next-hop MTU, or unused */
};

/* Bytes of the packet that an ICMP error about it quotes: as many as may be, RFC 1812 and RFC 4443. */
static __always_inline __u32 quoted_length(const struct packet* p) {
  const __u32 most = p->v6 ? kMaxReply6 - sizeof(struct ipv6hdr) - sizeof(struct icmp_answer)
                           : kMaxReply4 - sizeof(struct iphdr) - sizeof(struct icmp_answer);
  return p->ip_length < most ? p->ip_length : most;
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
  write_ip(p, IPPROTO_ICMP, kReplyTos, sizeof icmp + quoted, answer);
  __builtin_memcpy(answer + sizeof(struct iphdr), &icmp, sizeof icmp);
  return bpf_xdp_store_bytes(ctx, p->ip, answer, sizeof(struct iphdr) + sizeof icmp) ? -1 : 0;
}

static __always_inline int reply_about(struct xdp_md* ctx, const struct packet* p, __u8 type, __u8 code,
                                       __u32 rest) {
  const int sum = frame_sum(ctx, p->ip, quoted_length(p));
  return sum < 0 ? -1 : reply_with_icmp(ctx, p, (__u32)code << 8 | type, rest, sum);
}

/* Tells the sender of a packet which MTU the way has. `mtu`: for the packet, without the tunnel's headers. */
static __always_inline int reply_too_big(struct xdp_md* ctx, const struct packet* p, __u32 mtu) {
  return p->v6 ? reply_about(ctx, p, kPacketTooBig6, 0, mtu)
               : reply_about(ctx, p, kUnreachable, kFragmentationNeeded, mtu & 0xffff);
}

static __always_inline int reply_port_unreachable(struct xdp_md* ctx, const struct packet* p) {
  return p->v6 ? reply_about(ctx, p, kUnreachable6, kPortUnreachable6, 0)
               : reply_about(ctx, p, kUnreachable, kPortUnreachable, 0);
}

/* Answers a TCP segment without RST with one: RFC 9293, 3.10.7.1. Each header is put together in the place of
 * the one before it, for the sake of the stack. */
__noinline int reply_with_reset(struct xdp_md* ctx, const struct packet* p) {
  if (!p || p->ip > kMaxLinkHeader) return -1;
  struct tcphdr tcp;
  if (bpf_xdp_load_bytes(ctx, p->ip + p->l4, &tcp, sizeof tcp)) return -1;
  const __be16 from = tcp.dest, to = tcp.source;
  const int acked = tcp.ack;
  const __u32 payload = p->ip_length - p->l4 - tcp.doff * 4;
  const __be32 seq = acked ? tcp.ack_seq : 0;
  const __be32 ack_seq = acked ? 0 : bpf_htonl(bpf_ntohl(tcp.seq) + payload + tcp.syn + tcp.fin);
  __builtin_memset(&tcp, 0, sizeof tcp);
  tcp.source = from;
  tcp.dest = to;
  tcp.seq = seq;
  tcp.ack_seq = ack_seq;
  tcp.doff = sizeof tcp / 4;
  tcp.rst = 1;
  tcp.ack = !acked;
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
