// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
//
// Takes the tunnel off on a backend whose kernel has no tunnel device. `linimo-decap attach eth0` (main.cc)
// puts it on the NIC; the VIP belongs on `lo`. It removes, over outer IPv4 or IPv6,
//   - IPIP (RFC 2003, RFC 2473, RFC 4213: protocols 4 and 41),
//   - GRE (RFC 2784, neither key nor checksum) that carries IPv4 or IPv6,
//   - GUE version 1 (UDP, port 6080 unless told otherwise, the inner IP header follows at once),
// and hands the inner packet to the stack under the outer frame's MAC addresses. What the network said of
// congestion on the outer header goes on in the inner one (RFC 6040, 4.2). Every other frame goes up as
// it came, so that a packet this program does not know is the stack's to judge: fragments of a tunnel, outer
// IPv6 extension headers and VLAN tags among them.
//
// It deliberately does not ask who sent the tunnel: keeping strangers' tunnels out of the fabric is the
// router's job, as it is for a tunnel device with `remote any`.

// bpf_helpers.h takes its types from linux/bpf.h, which must come first.
// clang-format off
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
// clang-format on

#include "verdict.h"

enum {
  kIpv4FragmentMask = 0x3fff,  // more-fragments and the offset; DF is no fragment
};

enum ecn { kNotEct, kEct1, kEct0, kCe };  // RFC 3168, 5

volatile const __u16 gue_port =
    6080;  // host byte order; the loader may change it until the program is loaded

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, LINIMO_DECAP_VERDICTS);
  __type(key, __u32);
  __type(value, __u64);
} verdicts SEC(".maps");

static __always_inline int counted(__u32 verdict, int action) {
  __u64* count = bpf_map_lookup_elem(&verdicts, &verdict);
  if (count) ++*count;  // of this CPU, which runs one program at a time
  return action;
}

// RFC 2784: no checksum, so the header is these four bytes. Any flag set means fields we do not know.
struct gre {
  __be16 flags_and_version;
  __be16 ether_type;
};

// What the outer headers say: where the inner packet begins and what it claims to be. `ether_type` stays 0
// for a frame that is no tunnel of ours.
struct tunnel {
  __u32 inner_offset;
  __be16 ether_type;
  __u8 ecn;
};

static __always_inline __u8 ecn_of_v6(const void* ip) {
  return ((const __u8*)ip)[1] >> 4 & 3;
}

static __always_inline __be16 ether_type_of_version(const void* inner) {
  switch (*(const __u8*)inner >> 4) {
    case 4:
      return bpf_htons(ETH_P_IP);
    case 6:
      return bpf_htons(ETH_P_IPV6);
    default:
      return 0;
  }
}

// Fills `tunnel` from the header that follows the outer IP header. The caller has bounded `offset`.
static __always_inline void parse_tunnel(const void* data, const void* data_end, __u32 offset, __u8 protocol,
                                         struct tunnel* tunnel) {
  const void* next = data + offset;
  __be16 claimed = 0;

  if (protocol == IPPROTO_IPIP) {
    claimed = bpf_htons(ETH_P_IP);
  } else if (protocol == IPPROTO_IPV6) {
    claimed = bpf_htons(ETH_P_IPV6);
  } else if (protocol == IPPROTO_GRE) {
    const struct gre* gre = next;
    if ((const void*)(gre + 1) > data_end || gre->flags_and_version != 0) return;
    claimed = gre->ether_type;
    next = gre + 1;
  } else if (protocol == IPPROTO_UDP) {
    const struct udphdr* udp = next;
    if ((const void*)(udp + 1) > data_end || udp->dest != bpf_htons(gue_port)) return;
    next = udp + 1;
  } else {
    return;
  }

  if (next + sizeof(struct iphdr) > data_end) return;
  __be16 found = ether_type_of_version(next);
  if (protocol != IPPROTO_UDP && found != claimed) return;
  tunnel->inner_offset = next - data;
  tunnel->ether_type = found;
}

// What the inner packet's field becomes, or -1: it must not go on, since its sender would never learn of the
// congestion.
static __always_inline int inner_ecn(__u8 outer, __u8 inner) {
  if (outer == kCe) return inner == kNotEct ? -1 : kCe;
  return outer == kEct1 && inner == kEct0 ? kEct1 : inner;
}

// Of the packet at `ip`, 20 bytes of which are known to be there. 0: it is to be dropped.
static __always_inline int set_ecn(void* ip, int v6, __u8 outer) {
  __u8* second = ip + 1;
  const int shift = v6 ? 4 : 0;
  const __u8 before = *second >> shift & 3;
  const int after = inner_ecn(outer, before);
  if (after < 0) return 0;
  if (after == before) return 1;
  *second = (*second & ~(3 << shift)) | after << shift;
  if (!v6) {  // RFC 1624; the byte is the lower one of its word on the wire
    __be16* checksum = ip + __builtin_offsetof(struct iphdr, check);
    __u32 sum = (__u16)~bpf_ntohs(*checksum) + (__u16)~before + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    *checksum = bpf_htons((__u16)~sum);
  }
  return 1;
}

SEC("xdp.frags")
int linimo_decap(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ethhdr* eth = data;
  struct tunnel tunnel = {};

  if ((void*)(eth + 1) > data_end) return counted(LINIMO_DECAP_PASSED, XDP_PASS);

  if (eth->h_proto == bpf_htons(ETH_P_IP)) {
    const struct iphdr* ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > data_end || ip->ihl < 5 || ip->frag_off & bpf_htons(kIpv4FragmentMask))
      return counted(LINIMO_DECAP_PASSED, XDP_PASS);
    tunnel.ecn = ip->tos & 3;
    parse_tunnel(data, data_end, sizeof(*eth) + ip->ihl * 4, ip->protocol, &tunnel);
  } else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
    const struct ipv6hdr* ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > data_end) return counted(LINIMO_DECAP_PASSED, XDP_PASS);
    tunnel.ecn = ecn_of_v6(ip);
    parse_tunnel(data, data_end, sizeof(*eth) + sizeof(*ip), ip->nexthdr, &tunnel);
  }
  if (tunnel.ether_type == 0) return counted(LINIMO_DECAP_PASSED, XDP_PASS);

  // The Ethernet header moves up to the inner packet, over the end of what is taken off.
  struct ethhdr moved = *eth;
  moved.h_proto = tunnel.ether_type;
  if (bpf_xdp_adjust_head(ctx, tunnel.inner_offset - sizeof(moved)))
    return counted(LINIMO_DECAP_PASSED,
                   XDP_PASS);  // the frame is untouched: the stack drops it as a protocol it does not know

  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  if (data + sizeof(moved) + sizeof(struct iphdr) > data_end)
    return counted(LINIMO_DECAP_DROPPED, XDP_ABORTED);
  *(struct ethhdr*)data = moved;
  const int v6 = moved.h_proto == bpf_htons(ETH_P_IPV6);
  return set_ecn(data + sizeof(moved), v6, tunnel.ecn) ? counted(LINIMO_DECAP_REMOVED, XDP_PASS)
                                                       : counted(LINIMO_DECAP_DROPPED, XDP_DROP);
}

char _license[] SEC("license") = "Dual BSD/GPL";
