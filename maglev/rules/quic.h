/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The server id in a QUIC packet's Destination Connection ID (draft-ietf-quic-load-balancers, plain text).
 * Versions 1 and 2 (RFC 9000, RFC 9369) are told apart only to find the packets whose id the client chose. A
 * short header's fixed bit may be cleared (RFC 9287).
 */
#ifndef LINIMO_MAGLEV_RULES_QUIC_H
#define LINIMO_MAGLEV_RULES_QUIC_H

#include "maglev/abi.h"
#include "maglev/rules/protocols.h"

#define LINIMO_QUIC_VERSION2 0x6b3343cfu
#define LINIMO_QUIC_HEAD 6u /* bytes of a long header up to the id: first byte, version, the id's length */

LINIMO_RULE int linimo_quic_is_long(__u8 first) {
  return first >> 7;
}

/* Bytes of a datagram's payload that are in the packet: of a first fragment it goes on in the next. `said`:
 * the UDP header's length, at least 8; `left`: bytes of the packet from that header on. */
LINIMO_RULE __u32 linimo_quic_size(__u32 said, __u32 left) {
  return (said < left ? said : left) - LINIMO_UDP_HEADER;
}

/* Has a long header an id that the server chose? Not Initial and 0-RTT, nor version negotiation. */
LINIMO_RULE int linimo_quic_server_chose_id(__u8 first, __u32 version) {
  const __u32 type = first >> 4 & 3;
  if (version == 0) return 0;
  if (version == LINIMO_QUIC_VERSION2) return type != 1 && type != 2;
  return type != 0 && type != 1;
}

/* Where in the payload the id begins; 0: none that names a server. `head`: the payload's first
 * LINIMO_QUIC_HEAD bytes as they lie in memory, of a short header the first one, of no matter what where
 * there are fewer; `size`: of the payload, at least 1; `needed`: bytes of the id. */
LINIMO_RULE __u32 linimo_quic_id_at(__u64 head, __u32 size, __u32 needed) {
  __u32 at = 1;
  if (linimo_quic_is_long((__u8)head)) {
    const __u32 version = LINIMO_SWAP32(head >> 8), id_length = (__u8)(head >> 40);
    if (size < LINIMO_QUIC_HEAD || !linimo_quic_server_chose_id((__u8)head, version) || needed > id_length)
      return 0;
    at = LINIMO_QUIC_HEAD;
  }
  return at + needed > size ? 0 : at;
}

/* An id that begins so names no server. */
LINIMO_RULE int linimo_quic_is_unroutable(__u8 first_of_id) {
  return first_of_id >> 5 == 7;
}

/* The number of 1 to 8 bytes, big-endian. `bytes`: as they lie in memory. */
LINIMO_RULE __u64 linimo_quic_server_id(__u64 bytes, __u32 length) {
  return LINIMO_SWAP64(bytes) >> (64 - 8 * length);
}

#endif
