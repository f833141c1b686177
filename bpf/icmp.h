/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * ICMP and ICMPv6 to a VIP: an echo request, an error about a packet that a backend sent from this VIP (RFC
 * 792, RFC 4443), or the kernel's.
 *
 * The functions here are global ones, which the verifier checks once and by themselves: it follows their
 * loops without those of the path they are called from.
 */
#ifndef LINIMO_BPF_ICMP_H
#define LINIMO_BPF_ICMP_H

#include "hash.h"
#include "packet.h"

/* <linux/icmp.h> cannot be had for the target "bpf": it takes the C library along. */
enum {
  kEchoReply = 0,
  kUnreachable = 3,
  kPortUnreachable = 3,  // code
  kFragmentationNeeded = 4,
  kEchoRequest = 8,
  kTimeExceeded = 11,
  kParameterProblem = 12,

  kUnreachable6 = 1,
  kPortUnreachable6 = 4,  // code
  kPacketTooBig6 = 2,
  kParameterProblem6 = 4,
  kEchoRequest6 = 128,
  kEchoReply6 = 129,
};

enum icmp_kind { kIcmpForKernel, kIcmpEcho, kIcmpError };

/* The flow that an error is about, in the direction of its client: what the quoted packet calls the
 * destination is the source here. */
struct quote {
  struct flow_key key; /* whole, whatever the service hashes */
  __u16 reserved;
  __u32 reserved2;
};

/* Reads the quoted packet's header at `at` with its extension headers, `left` bytes up to the message's end.
 * Returns where its ports lie, 0: it quotes nothing that a service could have sent. */
static __always_inline __u32 read_quoted_v4(struct xdp_md* ctx, __u32 at, __u32 left, struct flow_key* key) {
  struct iphdr ip;
  if (left < sizeof ip || bpf_xdp_load_bytes(ctx, at, &ip, sizeof ip)) return 0;
  const __u32 header = ip.ihl * 4;
  if (ip.version != 4 || header < sizeof ip || header + 8 > left) return 0;
  if (ip.frag_off & bpf_htons(kFragmentOffset)) return 0;
  key->source = words_of_v4(ip.daddr);
  key->destination = words_of_v4(ip.saddr);
  key->protocol = ip.protocol;
  return at + header;
}

static __always_inline __u32 read_quoted_v6(struct xdp_md* ctx, __u32 at, __u32 left, struct flow_key* key) {
  struct ipv6hdr ip;
  if (left < sizeof ip || bpf_xdp_load_bytes(ctx, at, &ip, sizeof ip) || ip.version != 6) return 0;
  __builtin_memcpy(&key->source, &ip.daddr, 16);
  __builtin_memcpy(&key->destination, &ip.saddr, 16);
  __u8 next = ip.nexthdr;
  __u32 offset = sizeof ip;
  int fragments = 0;
  // One round more than there may be headers, for the Fragment header, which is not counted; one to leave by.
  for (int round = 0; round <= kMaxExtensionHeaders + 1; ++round) {
    const int fragment = next == IPPROTO_FRAGMENT;
    if (!fragment && next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) break;
    if (!fragment && round - fragments == kMaxExtensionHeaders) return 0;
    struct fragment_header header;
    if (left - offset < sizeof header || bpf_xdp_load_bytes(ctx, at + offset, &header, sizeof header))
      return 0;
    if (fragment && (fragments++ || header.offset & bpf_htons(0xfff8))) return 0;
    next = header.next;
    // Other extension headers have their length where the Fragment header has its reserved byte.
    offset += fragment ? sizeof header : 8 + header.reserved * 8;
    if (offset > left) return 0;
  }
  if (left - offset < 8) return 0;
  key->protocol = next;
  return at + offset;
}

static __always_inline int is_error(__u8 v6, __u8 type) {
  if (v6) return type >= kUnreachable6 && type <= kParameterProblem6;
  return type == kUnreachable || type == kTimeExceeded || type == kParameterProblem;
}

/* What a whole ICMP packet to a VIP is. `quote` is right for kIcmpError: its destination is the VIP, its
 * protocol TCP or UDP; the caller finds out whether a service has it. */
__noinline int judge_icmp(struct xdp_md* ctx, const struct packet* p, struct quote* quote) {
  if (!p || !quote) return kIcmpForKernel;
  const __u32 at = p->ip + p->l4;
  const __u32 length = p->ip_length - p->l4;
  __u8 header[8];
  if (length < sizeof header || bpf_xdp_load_bytes(ctx, at, header, sizeof header)) return kIcmpForKernel;
  const __u8 type = header[0];
  if (type == (p->v6 ? kEchoRequest6 : kEchoRequest)) {
    // A route with hops left is not ours to reverse.
    return header[1] == 0 && !p->routing_left ? kIcmpEcho : kIcmpForKernel;
  }
  if (!is_error(p->v6, type)) return kIcmpForKernel;

  const __u32 quoted = at + sizeof header;
  const __u32 left = length - sizeof header;
  struct flow_key* key = &quote->key;
  const __u32 ports_at =
      p->v6 ? read_quoted_v6(ctx, quoted, left, key) : read_quoted_v4(ctx, quoted, left, key);
  if (ports_at == 0 || (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)) return kIcmpForKernel;
  if (key->destination.high != p->destination.high || key->destination.low != p->destination.low)
    return kIcmpForKernel;
  __be16 ports[2];
  if (bpf_xdp_load_bytes(ctx, ports_at, ports, sizeof ports)) return kIcmpForKernel;
  key->source_port = ports[1];
  key->destination_port = ports[0];
  key->kind = 0;
  return kIcmpError;
}

#endif
