/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * From a frame to what forwarding needs to know of it, in two steps: where its IP packet lies, and, once it
 * is known to be for a VIP, whether it is sound and whose flow it is: dataplane/packet/parse.cc for BPF. What
 * is sound says maglev/rules for both.
 */
#ifndef LINIMO_BPF_PACKET_H
#define LINIMO_BPF_PACKET_H

// bpf_helpers.h takes its types from linux/bpf.h, which must come first.
// clang-format off
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#include "maglev/abi.h"
#include "maglev/rules/address.h"
#include "maglev/rules/checksum.h"
#include "maglev/rules/ipv6_extensions.h"
#include "maglev/rules/judge.h"
#include "maglev/rules/martian.h"

enum { kMaxLinkHeader = 22 };

/* A verdict beside those of maglev/rules/judge.h: the frame lies in several buffers, and its headers do not
 * all lie in the first one, which is the only one that can be read in place. */
enum { kVerdictCut = LINIMO_VERDICT_MARTIAN + 1 };

/* Of a frame's first buffer, which nearly always is the only one. */
static __always_inline __u32 first_buffer(const struct xdp_md* ctx) {
  return ctx->data_end - ctx->data;
}

static __always_inline int is_in_several_buffers(struct xdp_md* ctx) {
  return bpf_xdp_get_buff_len(ctx) != first_buffer(ctx);
}

/* An offset into the frame, with a bound that the verifier sees: once spilled to the stack, a value's range
 * is forgotten, and without the barrier the compiler, which knows the range too, would leave the mask out. */
#define LINIMO_BOUND(offset, mask)     \
  ({                                   \
    __u32 bounded_ = (offset);         \
    asm volatile("" : "+r"(bounded_)); \
    bounded_&(mask);                   \
  })
#define LINIMO_IP_AT(p) LINIMO_BOUND((p)->ip, 31)            /* at most kMaxLinkHeader */
#define LINIMO_IN_FRAME(offset) LINIMO_BOUND(offset, 0x3fff) /* extension headers end before that */

struct vlan_tag {
  __be16 control;
  __be16 type;
};

/* An address as it lies in memory; IPv4 in its mapped form. */
struct words {
  __u64 high, low;
};

struct packet {
  struct words source, destination;
  __u32 frame_length;  // in all its buffers
  __u32 ip;            // offset of the IP header in the frame
  __u32 ip_length;     // of the whole IP packet by its header: what lies behind is padding
  __u32 l4;            // offset from the IP header
  __be32 fragment_id;
  __be16 source_port;
  __be16 destination_port;
  __be16 ip_id;  // IPv4 only, as the next
  __be16 ip_fragment;
  __u8 v6;
  __u8 traffic_class;
  __u8 protocol;
  __u8 tcp_flags;
  __u8 fragment;    // enum linimo_fragment_kind
  __u8 on_its_way;  // an IPv6 routing header still has hops to go
  __u8 passed;      // another node has passed it on
};

/* `value` as it is, 1 to `most`, a power of two: the bounds of a helper's length, computed out of the
 * compiler's sight since Linux 6.1 does not learn from a comparison with zero. */
static __always_inline __u32 bounded(__u32 value, __u32 most) {
  asm volatile("" : "+r"(value));
  return ((value - 1) & (most - 1)) + 1;
}

static __always_inline struct words words_of_v4(__be32 address) {
  struct words words = {0, LINIMO_V4_LOW(address)};
  return words;
}

static __always_inline int is_v4_words(const struct words* words) {
  return linimo_is_v4(words->high, words->low);
}

/* The EtherType behind at most two VLAN tags, and where what it names begins; 0 where the frame is cut short.
 */
static __always_inline __be16 link_header(void* data, void* data_end, __u32* length) {
  struct ethhdr* ethernet = data;
  *length = sizeof *ethernet;
  if ((void*)(ethernet + 1) > data_end) return 0;
  __be16 type = *(const __be16*)(data + __builtin_offsetof(struct ethhdr, h_proto));  // in one piece
  if (!linimo_is_tag(type)) return type;
  struct vlan_tag* tag = (void*)(ethernet + 1);
  if ((void*)(tag + 1) > data_end) return 0;
  type = tag->type;
  *length += sizeof *tag;
  if (!linimo_is_tag(type)) return type;
  ++tag;
  if ((void*)(tag + 1) > data_end) return 0;
  *length += sizeof *tag;
  return tag->type;
}

/* Finds the IP header, which then is there in its fixed length, and the addresses. Null: no IP, or cut. */
static __always_inline void* locate(void* data, void* data_end, struct packet* p) {
  const __be16 type = link_header(data, data_end, &p->ip);
  if (type == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = data + p->ip;
    if ((void*)(ip + 1) > data_end) return 0;
    p->v6 = 0;
    p->source = words_of_v4(ip->saddr);
    p->destination = words_of_v4(ip->daddr);
    return ip;
  }
  if (type != bpf_htons(ETH_P_IPV6)) return 0;
  struct ipv6hdr* ip = data + p->ip;
  if ((void*)(ip + 1) > data_end) return 0;
  p->v6 = 1;
  __builtin_memcpy(&p->source, &ip->saddr, 16);
  __builtin_memcpy(&p->destination, &ip->daddr, 16);
  return ip;
}

static __always_inline int is_martian(const struct packet* p) {
  return p->v6 ? linimo_is_martian6(p->source.high, p->source.low) : linimo_is_martian4(p->source.low >> 32);
}

/* The header's sum, `length` a multiple of 4 from 20 to 60; 20 bytes are known to be there. */
static __always_inline int header_checksum_holds(const void* at, void* data_end, __u32 length) {
  const __u32* word = at;
  __u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];
  for (int i = 5; i < 15; ++i) {
    if ((__u32)i * 4 >= length) break;
    const __u32* option = word + i;
    asm volatile("" : "+r"(option));  // else the bound is moved to data_end, which the verifier forbids
    if ((void*)(option + 1) > data_end) return 0;
    sum += *option;
  }
  return linimo_checksum_fold(sum) == 0xffff;
}

/* TCP or UDP at the frame's offset `at`, with `length` bytes of IP payload. */
static __always_inline int judge_transport(void* data, void* data_end, __u32 at, __u32 length,
                                           struct packet* p) {
  at = LINIMO_IN_FRAME(at);
  if (p->protocol == IPPROTO_TCP) {
    struct tcphdr* tcp = data + at;
    if (length < sizeof *tcp) return LINIMO_VERDICT_MALFORMED;
    if ((void*)(tcp + 1) > data_end) return kVerdictCut;
    if (!linimo_is_sound_tcp(tcp->doff * 4, length)) return LINIMO_VERDICT_MALFORMED;
    p->source_port = tcp->source;
    p->destination_port = tcp->dest;
    p->tcp_flags = ((__u8*)tcp)[13];
    return LINIMO_VERDICT_FLOW;
  }
  if (p->protocol == IPPROTO_UDP) {
    struct udphdr* udp = data + at;
    if (length < sizeof *udp) return LINIMO_VERDICT_MALFORMED;
    if ((void*)(udp + 1) > data_end) return kVerdictCut;
    if (!linimo_is_sound_udp(bpf_ntohs(udp->len), length, p->fragment)) return LINIMO_VERDICT_MALFORMED;
    p->source_port = udp->source;
    p->destination_port = udp->dest;
    return LINIMO_VERDICT_FLOW;
  }
  return linimo_judge_protocol(p->v6, p->protocol, p->fragment);
}

/* `ip`: where locate() found the header. */
static __always_inline int judge_v4(const struct iphdr* ip, void* data, void* data_end, struct packet* p) {
  const __u32 header = ip->ihl * 4;
  const __u32 total = bpf_ntohs(ip->tot_len);
  if (!linimo_is_sound_ipv4(ip->version, header, total, p->frame_length - p->ip))
    return LINIMO_VERDICT_MALFORMED;
  if (p->ip + header > (__u32)(data_end - data)) return kVerdictCut;
  if (!header_checksum_holds(ip, data_end, header)) return LINIMO_VERDICT_BAD_CHECKSUM;
  if (is_martian(p)) return LINIMO_VERDICT_MARTIAN;
  p->ip_length = total;
  p->l4 = header;
  p->protocol = ip->protocol;
  p->traffic_class = ip->tos;
  p->ip_id = ip->id;
  p->ip_fragment = ip->frag_off;
  p->fragment_id = ip->id;
  p->fragment = linimo_fragment_kind4(ip->frag_off);
  if (p->fragment != LINIMO_WHOLE) {
    const int verdict = linimo_judge_protocol(0, p->protocol, p->fragment);
    if (verdict != LINIMO_VERDICT_FLOW) return verdict;
  }
  return judge_transport(data, data_end, p->ip + header, total - header, p);
}

/* Global, so that the verifier looks at it by itself and at its callers without the many ways through it. */
__noinline int judge_v6(struct xdp_md* ctx, struct packet* p) {
  if (!p) return LINIMO_VERDICT_MALFORMED;
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ipv6hdr* ip = data + LINIMO_IP_AT(p);
  if ((void*)(ip + 1) > data_end) return LINIMO_VERDICT_MALFORMED;
  const __u32 end = sizeof *ip + bpf_ntohs(ip->payload_len);
  if (!linimo_is_sound_ipv6(ip->version, end, p->frame_length - p->ip)) return LINIMO_VERDICT_MALFORMED;
  if (is_martian(p)) return LINIMO_VERDICT_MARTIAN;
  p->ip_length = end;
  p->traffic_class = ip->priority << 4 | ip->flow_lbl[0] >> 4;
  struct linimo_extensions chain = linimo_extensions_begin(ip->nexthdr);
  for (int round = 0; round < LINIMO_EXTENSION_ROUNDS && linimo_has_extension(&chain); ++round) {
    const __u64* header = data + LINIMO_IN_FRAME(p->ip + chain.offset);
    if (end - chain.offset < sizeof *header) return LINIMO_VERDICT_MALFORMED;
    if ((void*)(header + 1) > data_end) return kVerdictCut;
    if (!linimo_pass_extension(&chain, *header, end)) return LINIMO_VERDICT_MALFORMED;
  }
  p->l4 = chain.offset;
  p->protocol = chain.next;
  p->fragment = chain.fragment;
  p->fragment_id = chain.id;
  p->on_its_way = chain.on_its_way;
  if (p->fragment == LINIMO_LATER_FRAGMENT) return linimo_judge_later_fragment6(chain.next);
  return judge_transport(data, data_end, p->ip + chain.offset, end - chain.offset, p);
}

#endif
