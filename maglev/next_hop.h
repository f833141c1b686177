/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * Where the packets for one backend leave, as it lies in memory that user space writes and the packet path
 * reads: heap for DPDK, an array map for the BPF program. Plain C, because both include it.
 *
 * Each field is one aligned word that is right by itself, so a reader needs no order between them.
 */
#ifndef LINIMO_MAGLEV_NEXT_HOP_H
#define LINIMO_MAGLEV_NEXT_HOP_H

#include <linux/types.h>

enum linimo_next_hop_state {
  LINIMO_NEXT_HOP_NO_ROUTE, /* what zeroed memory says */
  LINIMO_NEXT_HOP_UNRESOLVED,
  LINIMO_NEXT_HOP_WRONG_EGRESS,
  LINIMO_NEXT_HOP_RESOLVED
};

struct linimo_next_hop {
  /* Bits 0 to 47: the MAC address, so that the word's first six bytes in memory are those on the wire;
   * 48 to 55: the port; 56 to 63: the state. Little-endian machines only. */
  __u64 way;
  /* Two VLAN tags as they lie on the wire (TPID, TCI), outermost first; zero where there is none. */
  __u64 tags;
  __u32 mtu; /* of the route, for the outer IP packet */
  __u32 reserved[3];
} __attribute__((aligned(32)));

#define LINIMO_NEXT_HOP_PORT_SHIFT 48
#define LINIMO_NEXT_HOP_STATE_SHIFT 56

#ifdef __cplusplus
static_assert(sizeof(struct linimo_next_hop) == 32, "linimo_next_hop changed its layout");
#else
_Static_assert(sizeof(struct linimo_next_hop) == 32, "linimo_next_hop changed its layout");
#endif

#endif
