/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * ICMP and ICMPv6 to a VIP: an echo request, an error about a packet that a backend sent from this VIP (RFC
 * 792, RFC 4443), neighbour discovery, or nothing that concerns Linimo.
 *
 * The functions here are global ones, which the verifier checks once and by themselves: it follows their
 * loops without those of the path they are called from.
 */
#ifndef LINIMO_BPF_ICMP_H
#define LINIMO_BPF_ICMP_H

#include "hash.h"
#include "maglev/rules/icmp.h"
#include "packet.h"

enum icmp_kind { kIcmpOther, kIcmpEcho, kIcmpError, kIcmpNeighbour };

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
  if (!linimo_is_sound_quote4(ip.version, header, left, ip.frag_off)) return 0;
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
  struct linimo_extensions chain = linimo_extensions_begin(ip.nexthdr);
  for (int round = 0; round < LINIMO_EXTENSION_ROUNDS && linimo_has_extension(&chain); ++round) {
    __u64 header;
    if (left - chain.offset < sizeof header ||
        bpf_xdp_load_bytes(ctx, at + chain.offset, &header, sizeof header) ||
        !linimo_pass_extension(&chain, header, left))
      return 0;
  }
  if (chain.fragment == LINIMO_LATER_FRAGMENT || left - chain.offset < LINIMO_QUOTED_TRANSPORT) return 0;
  key->protocol = chain.next;
  return at + chain.offset;
}

static __always_inline int is_neighbour_discovery(struct xdp_md* ctx, const struct packet* p, __u8 type,
                                                  __u8 code) {
  __u8 hop_limit = 0;
  return p->v6 &&
         !bpf_xdp_load_bytes(ctx, p->ip + __builtin_offsetof(struct ipv6hdr, hop_limit), &hop_limit, 1) &&
         linimo_is_neighbour_discovery(hop_limit, type, code);
}

struct option_search {
  __u8 options[64]; /* LINIMO_MOST_OPTIONS, and room for an index that the verifier can bound */
  __u32 at, end;
  int found;
};

static long look_at_option(__u32 step, struct option_search* search) {
  (void)step;
  if (search->at >= search->end) return 1;
  const __u8 option = search->options[search->at & 63];
  search->found = linimo_is_source_route(option);
  search->at = linimo_behind_option(search->at, search->end, option, search->options[(search->at + 1) & 63]);
  return search->found;
}

/* Does an IPv4 packet have a source route option, done or not? */
__noinline int is_source_routed(struct xdp_md* ctx, const struct packet* p) {
  if (!p || p->v6 || p->l4 <= sizeof(struct iphdr)) return 0;
  struct option_search search = {.end = p->l4 - sizeof(struct iphdr)};
  if (bpf_xdp_load_bytes(ctx, p->ip + sizeof(struct iphdr), search.options, bounded(search.end, 64)))
    return 0;
  bpf_loop(LINIMO_MOST_OPTIONS, look_at_option, &search, 0);
  return search.found;
}

/* What a whole ICMP packet to a VIP is. `quote` is right for kIcmpError: its destination is the VIP, its
 * protocol TCP or UDP; the caller finds out whether a service has it. */
__noinline int judge_icmp(struct xdp_md* ctx, const struct packet* p, struct quote* quote) {
  if (!p || !quote) return kIcmpOther;
  const __u32 at = p->ip + p->l4;
  const __u32 length = p->ip_length - p->l4;
  __u8 header[8];
  if (length < sizeof header || bpf_xdp_load_bytes(ctx, at, header, sizeof header)) return kIcmpOther;
  const __u8 type = header[0];
  // A route with hops left is not ours to reverse.
  if (linimo_is_echo_request(p->v6, type, header[1])) return p->on_its_way ? kIcmpOther : kIcmpEcho;
  if (is_neighbour_discovery(ctx, p, type, header[1])) return kIcmpNeighbour;
  if (!linimo_is_icmp_error(p->v6, type)) return kIcmpOther;

  const __u32 quoted = at + sizeof header;
  const __u32 left = length - sizeof header;
  struct flow_key* key = &quote->key;
  const __u32 ports_at =
      p->v6 ? read_quoted_v6(ctx, quoted, left, key) : read_quoted_v4(ctx, quoted, left, key);
  if (ports_at == 0 || (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)) return kIcmpOther;
  if (key->destination.high != p->destination.high || key->destination.low != p->destination.low)
    return kIcmpOther;
  __be16 ports[2];
  if (bpf_xdp_load_bytes(ctx, ports_at, ports, sizeof ports)) return kIcmpOther;
  key->source_port = ports[1];
  key->destination_port = ports[0];
  return kIcmpError;
}

#endif
