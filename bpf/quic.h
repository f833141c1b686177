/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The server id in a QUIC packet's Destination Connection ID (draft-ietf-quic-load-balancers, plain text).
 * Versions 1 and 2 (RFC 9000, RFC 9369) are told apart only to find the packets whose id the client chose.
 */
#ifndef LINIMO_BPF_QUIC_H
#define LINIMO_BPF_QUIC_H

#include "packet.h"

enum {
  kQuicLong = 0x80,
  kQuicLongIdAt = 6,
  kQuicShortIdAt = 1,
  kQuicUnroutable = 7, /* the first three bits of an id that names no server */
};

/* Has a packet with this first byte and version an id that the server chose? Not Initial and 0-RTT. */
static __always_inline int server_chose_id(__u8 first, __u32 version) {
  const __u8 type = first >> 4 & 3;
  if (version == 0) return 0;  // version negotiation
  if (version == 0x6b3343cf) return type != 1 && type != 2;
  return type != 0 && type != 1;
}

/* Where in a connection id a server id lies: 1 to 8 bytes. */
struct server_id_place {
  __u32 offset, length;
};

/* Reads the server id as a big-endian number. 1: there is one. A short header's fixed bit may be cleared (RFC
 * 9287). `udp_at`: the UDP header in the frame; `left`: bytes of the packet from there on. */
__noinline int quic_server_id(struct xdp_md* ctx, __u32 udp_at, __u32 left,
                              const struct server_id_place* place, __u64* id) {
  if (!place || !id || place->length == 0 || place->length > LINIMO_MAX_SERVER_ID_LENGTH) return 0;
  const __u32 offset = place->offset, length = place->length;
  const __u32 payload = udp_at + sizeof(struct udphdr);
  struct udphdr udp;
  if (bpf_xdp_load_bytes(ctx, udp_at, &udp, sizeof udp)) return 0;
  // Of a first fragment the payload goes on in the next.
  __u32 size = bpf_ntohs(udp.len) - sizeof udp;
  if (size > left - sizeof udp) size = left - sizeof udp;

  __u8 head[kQuicLongIdAt] = {};
  if (size == 0 || bpf_xdp_load_bytes(ctx, payload, head, 1)) return 0;
  __u32 at = kQuicShortIdAt;
  if (head[0] & kQuicLong) {
    if (size < sizeof head || bpf_xdp_load_bytes(ctx, payload, head, sizeof head)) return 0;
    const __u32 version = (__u32)head[1] << 24 | (__u32)head[2] << 16 | (__u32)head[3] << 8 | head[4];
    if (!server_chose_id(head[0], version) || offset + length > head[5]) return 0;
    at = kQuicLongIdAt;
  }
  if (at + offset + length > size || bpf_xdp_load_bytes(ctx, payload + at, head, 1)) return 0;
  if (head[0] >> 5 == kQuicUnroutable) return 0;
  __u64 bytes = 0;
  if (bpf_xdp_load_bytes(ctx, payload + at + offset, &bytes, bounded(length, LINIMO_MAX_SERVER_ID_LENGTH)))
    return 0;
  *id = bpf_be64_to_cpu(bytes) >> (64 - 8 * length);
  return 1;
}

#endif
