/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * From a frame to what forwarding needs to know of it, in two steps: where its IP packet lies, and, once it
 * is known to be for a VIP, whether it is sound and whose flow it is. The rules are those of
 * dataplane/packet.
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

enum {
  kMaxExtensionHeaders = 6,
  kFragmentBits = 0x3fff,
  kDontFragmentBit = 0x4000,
  kMoreFragmentsBit = 0x2000,
  kFragmentOffset = 0x1fff,
  kMaxLinkHeader = 22,
  kMaxIpLength = 65535,
  kTcpFin = 0x01,
  kTcpSyn = 0x02,
  kTcpRst = 0x04,
  kTcpAck = 0x10,
};

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

struct fragment_header { /* RFC 8200, 4.5 */
  __u8 next;
  __u8 reserved;
  __be16 offset;
  __be32 id;
};

/* An address as it lies in memory; IPv4 in its mapped form. */
struct words {
  __u64 high, low;
};

/* The first segment of a connection: SYN alone. */
static __always_inline int begins_connection(__u8 tcp_flags) {
  return (tcp_flags & (kTcpFin | kTcpSyn | kTcpRst | kTcpAck)) == kTcpSyn;
}

enum verdict {
  kFlow,   // TCP or UDP: ports and flags are set
  kOther,  // a protocol that no service can have
  kIcmpPacket,
  kLaterFragment,  // TCP or UDP for all one can know, without ports
  kMalformed,
  kBadChecksum,
  kMartian,
};

enum { kNoFragment, kFirstFragment, kLastOrMiddleFragment };

struct packet {
  struct words source, destination;
  __u32 frame_length;
  __u32 ip;         // offset of the IP header in the frame
  __u32 ip_length;  // of the whole IP packet by its header: what lies behind is padding
  __u32 l4;         // offset from the IP header
  __be32 fragment_id;
  __be16 source_port;
  __be16 destination_port;
  __be16 ip_id;  // IPv4 only, as the next
  __be16 ip_fragment;
  __u8 v6;
  __u8 traffic_class;
  __u8 protocol;
  __u8 tcp_flags;
  __u8 fragment;
  __u8 routing_left;  // an IPv6 routing header still has hops to go
};

/* `value` as it is, 1 to `most`, a power of two: the bounds of a helper's length, computed out of the
 * compiler's sight since Linux 6.1 does not learn from a comparison with zero. */
static __always_inline __u32 bounded(__u32 value, __u32 most) {
  asm volatile("" : "+r"(value));
  return ((value - 1) & (most - 1)) + 1;
}

static __always_inline struct words words_of_v4(__be32 address) {
  struct words words = {0, (__u64)address << 32 | 0xffff0000};
  return words;
}

static __always_inline int is_v4_words(const struct words* words) {
  return words->high == 0 && (__u32)words->low == 0xffff0000;
}

static __always_inline int is_tag(__be16 type) {
  return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* The EtherType behind at most two VLAN tags, and where what it names begins; 0 where the frame is cut short.
 */
static __always_inline __be16 link_header(void* data, void* data_end, __u32* length) {
  struct ethhdr* ethernet = data;
  *length = sizeof *ethernet;
  if ((void*)(ethernet + 1) > data_end) return 0;
  __be16 type = *(const __be16*)(data + __builtin_offsetof(struct ethhdr, h_proto));  // in one piece
  if (!is_tag(type)) return type;
  struct vlan_tag* tag = (void*)(ethernet + 1);
  if ((void*)(tag + 1) > data_end) return 0;
  type = tag->type;
  *length += sizeof *tag;
  if (!is_tag(type)) return type;
  ++tag;
  if ((void*)(tag + 1) > data_end) return 0;
  *length += sizeof *tag;
  return tag->type;
}

/* Is a frame, at least an Ethernet header long, for this station alone? Not another's, nor a group's: RFC
 * 1812, 5.3.4. */
static __always_inline int is_addressed_to(const void* frame, __u64 mac) {
  return (*(const __u64*)frame ^ mac) << 16 == 0;
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
  if (!p->v6) {
    const __u32 first = (__u8)(p->source.low >> 32);
    return first == 0 || first == 127 || first >= 224;
  }
  if ((__u8)p->source.high == 0xff) return 1;
  if (p->source.high != 0) return 0;
  const __u64 low = bpf_be64_to_cpu(p->source.low);
  return low <= 1 || low >> 32 == 0xffff;
}

/* Folds a sum of 32-bit words to 16 bits, in the byte order of memory. */
static __always_inline __u16 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum;
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
  return fold(sum) == 0xffff;
}

/* TCP or UDP at the frame's offset `at`, with `length` bytes of IP payload. */
static __always_inline int judge_transport(void* data, void* data_end, __u32 at, __u32 length,
                                           struct packet* p) {
  at = LINIMO_IN_FRAME(at);
  if (p->protocol == IPPROTO_TCP) {
    struct tcphdr* tcp = data + at;
    if (length < sizeof *tcp || (void*)(tcp + 1) > data_end) return kMalformed;
    const __u32 header = tcp->doff * 4;
    if (header < sizeof *tcp || header > length) return kMalformed;
    p->source_port = tcp->source;
    p->destination_port = tcp->dest;
    p->tcp_flags = ((__u8*)tcp)[13];
    return kFlow;
  }
  if (p->protocol == IPPROTO_UDP) {
    struct udphdr* udp = data + at;
    if (length < sizeof *udp || (void*)(udp + 1) > data_end) return kMalformed;
    const __u32 said = bpf_ntohs(udp->len);
    // A first fragment carries the length of the whole datagram.
    if (said < sizeof *udp || (said > length && p->fragment == kNoFragment)) return kMalformed;
    p->source_port = udp->source;
    p->destination_port = udp->dest;
    return kFlow;
  }
  return p->protocol == (p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ? kIcmpPacket : kOther;
}

/* `ip`: where locate() found the header. */
static __always_inline int judge_v4(const struct iphdr* ip, void* data, void* data_end, struct packet* p) {
  const __u32 header = ip->ihl * 4;
  const __u32 total = bpf_ntohs(ip->tot_len);
  if (ip->version != 4 || header < sizeof *ip || total < header || p->ip + total > p->frame_length)
    return kMalformed;
  if (!header_checksum_holds(ip, data_end, header)) return kBadChecksum;
  if (is_martian(p)) return kMartian;
  p->ip_length = total;
  p->l4 = header;
  p->protocol = ip->protocol;
  p->traffic_class = ip->tos;
  p->ip_id = ip->id;
  p->ip_fragment = ip->frag_off;
  p->fragment_id = ip->id;
  if (ip->frag_off & bpf_htons(kFragmentBits)) {
    p->fragment = ip->frag_off & bpf_htons(kFragmentOffset) ? kLastOrMiddleFragment : kFirstFragment;
    if (p->protocol == IPPROTO_ICMP) return kIcmpPacket;
    if (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) return kOther;
    if (p->fragment == kLastOrMiddleFragment) return kLaterFragment;
  }
  return judge_transport(data, data_end, p->ip + header, total - header, p);
}

/* Global, so that the verifier looks at it by itself and at its callers without the many ways through it. */
__noinline int judge_v6(struct xdp_md* ctx, struct packet* p) {
  if (!p) return kMalformed;
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ipv6hdr* ip = data + LINIMO_IP_AT(p);
  if ((void*)(ip + 1) > data_end) return kMalformed;
  const __u32 end = sizeof *ip + bpf_ntohs(ip->payload_len);
  if (ip->version != 6 || p->ip + end > p->frame_length || end > kMaxIpLength) return kMalformed;
  if (is_martian(p)) return kMartian;
  p->ip_length = end;
  p->traffic_class = ip->priority << 4 | ip->flow_lbl[0] >> 4;
  __u8 next = ip->nexthdr;
  __u32 offset = sizeof *ip;
  int fragments = 0;
  // One round more than there may be headers, for the Fragment header, which is not counted.
  for (int round = 0; round <= kMaxExtensionHeaders + 1; ++round) {
    if (next == IPPROTO_FRAGMENT) {
      struct fragment_header* header = data + LINIMO_IN_FRAME(p->ip + offset);
      if (fragments++ || end - offset < sizeof *header || (void*)(header + 1) > data_end) return kMalformed;
      next = header->next;
      offset += sizeof *header;
      p->fragment_id = header->id;
      if ((header->offset & bpf_htons(0xfff9)) == 0) continue;  // atomic, RFC 6946
      p->fragment = header->offset & bpf_htons(0xfff8) ? kLastOrMiddleFragment : kFirstFragment;
      if (p->fragment == kFirstFragment) continue;
      p->protocol = next;
      p->l4 = offset;
      if (next == IPPROTO_ICMPV6) return kIcmpPacket;
      const int may_be_flow = next == IPPROTO_TCP || next == IPPROTO_UDP || next == IPPROTO_HOPOPTS ||
                              next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
      return may_be_flow ? kLaterFragment : kOther;
    }
    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) break;
    if (round - fragments == kMaxExtensionHeaders || end - offset < 8) return kMalformed;
    __u8* header = data + LINIMO_IN_FRAME(p->ip + offset);
    if ((void*)(header + 8) > data_end) return kMalformed;
    if (next == IPPROTO_ROUTING && header[3] != 0) p->routing_left = 1;
    next = header[0];
    offset += 8 + header[1] * 8;
    if (offset > end) return kMalformed;
  }
  p->l4 = offset;
  p->protocol = next;
  return judge_transport(data, data_end, p->ip + offset, end - offset, p);
}

#endif
