/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What a UDP checksum over a whole inner packet needs: GUE over IPv6, where it may not be left out.
 */
#ifndef LINIMO_BPF_GUE_H
#define LINIMO_BPF_GUE_H

#include "packet.h"
#include "sum.h"

static __always_inline int covers_itself(struct xdp_md* ctx, const struct packet* p) {
  struct udphdr udp = {};
  if (p->protocol == IPPROTO_UDP && bpf_xdp_load_bytes(ctx, p->ip + p->l4, &udp, sizeof udp)) return 0;
  return linimo_checksum_covers(p->protocol, p->fragment != LINIMO_WHOLE, p->on_its_way, udp.check,
                                bpf_ntohs(udp.len), p->ip_length - p->l4);
}

/* The folded one's complement sum of the packet from its IP header to its end, before it is encapsulated. -1:
 * the frame does not hold it. */
__noinline int packet_sum(struct xdp_md* ctx, const struct packet* p) {
  if (!p) return -1;
  if (!covers_itself(ctx, p)) return frame_sum(ctx, p->ip, p->ip_length);
  const int headers = frame_sum(ctx, p->ip, p->l4);
  if (headers < 0) return -1;
  const __u16 payload =
      linimo_checksum_finish(addresses_sum(p) + linimo_checksum_pseudo(p->protocol, p->ip_length - p->l4));
  return linimo_checksum_fold((__u64)headers + payload);
}

#endif
