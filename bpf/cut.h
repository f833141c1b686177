/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Frames whose first buffer does not even hold the IP header: there are drivers that put nothing there. Linux
 * 6.1 has no way to bring the headers together, so such a packet to a VIP is dropped by name.
 */
#ifndef LINIMO_BPF_CUT_H
#define LINIMO_BPF_CUT_H

#include "packet.h"

enum { kCutOther, kCutV4, kCutV6 };

/* Reads the destination of a packet that is for this port. */
__noinline int cut_destination(struct xdp_md* ctx, __u64 mac, struct words* to) {
  __u8 link[24];
  if (!to || bpf_xdp_load_bytes(ctx, 0, link, kMaxLinkHeader)) return kCutOther;
  __u64 first;
  __builtin_memcpy(&first, link, sizeof first);
  if (!linimo_is_addressed_to(first, mac)) return kCutOther;
  __u32 at;
  const __be16 type = link_header(link, link + kMaxLinkHeader, &at);
  if (type == bpf_htons(ETH_P_IP)) {
    __be32 address;
    at += __builtin_offsetof(struct iphdr, daddr);
    if (bpf_xdp_load_bytes(ctx, at, &address, sizeof address)) return kCutOther;
    *to = words_of_v4(address);
    return kCutV4;
  }
  at += __builtin_offsetof(struct ipv6hdr, daddr);
  if (type != bpf_htons(ETH_P_IPV6) || bpf_xdp_load_bytes(ctx, at, to, sizeof *to) || is_v4_words(to))
    return kCutOther;
  return kCutV6;
}

#endif
