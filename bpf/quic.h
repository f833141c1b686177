/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Reads what maglev/rules/quic.h wants to know of a QUIC packet.
 */
#ifndef LINIMO_BPF_QUIC_H
#define LINIMO_BPF_QUIC_H

#include "maglev/rules/quic.h"
#include "packet.h"

/* Where in a connection id a server id lies: 1 to 8 bytes. */
struct server_id_place {
  __u32 offset, length;
};

/* 1: there is a server id. `udp_at`: the UDP header in the frame; `left`: bytes of the packet from there on.
 */
__noinline int quic_server_id(struct xdp_md* ctx, __u32 udp_at, __u32 left,
                              const struct server_id_place* place, __u64* id) {
  if (!place || !id || place->length == 0 || place->length > LINIMO_MAX_SERVER_ID_LENGTH) return 0;
  const __u32 offset = place->offset, length = place->length;
  const __u32 payload = udp_at + sizeof(struct udphdr);
  struct udphdr udp;
  if (bpf_xdp_load_bytes(ctx, udp_at, &udp, sizeof udp)) return 0;
  const __u32 size = linimo_quic_size(bpf_ntohs(udp.len), left);

  __u64 head = 0;
  if (size == 0 || bpf_xdp_load_bytes(ctx, payload, &head, 1)) return 0;
  if (linimo_quic_is_long(head) && size >= LINIMO_QUIC_HEAD &&
      bpf_xdp_load_bytes(ctx, payload, &head, LINIMO_QUIC_HEAD))
    return 0;
  const __u32 at = linimo_quic_id_at(head, size, offset + length);
  if (at == 0 || bpf_xdp_load_bytes(ctx, payload + at, &head, 1) || linimo_quic_is_unroutable(head)) return 0;
  head = 0;
  if (bpf_xdp_load_bytes(ctx, payload + at + offset, &head, bounded(length, LINIMO_MAX_SERVER_ID_LENGTH)))
    return 0;
  *id = linimo_quic_server_id(head, length);
  return 1;
}

#endif
