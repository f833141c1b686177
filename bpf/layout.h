/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What the XDP program and the process that fills its maps agree on, beside the snapshot itself
 * (maglev/abi.h).
 *
 * A generation is its image: the validated snapshot's own bytes from cell 0 on, then what the process
 * compiled out of it. Everything is found by cell, 64 bytes, one cache line: no record crosses a cell. An
 * image lies in pages, array maps that are all of one size, because only then the kernel compiles a look into
 * them in line; for the process they are one piece of memory. The heads of both generations, with the number
 * of the live one, stand in a map of one value, which the program reaches without a call.
 */
#ifndef LINIMO_BPF_LAYOUT_H
#define LINIMO_BPF_LAYOUT_H

#include "maglev/abi.h"
#include "maglev/rules/address.h"
#include "maglev/rules/flow_entry.h"
#include "maglev/rules/reply_limit.h"

/* Part of where maps are pinned: every change of this file changes it, and of where and how a flow or a
 * datagram is stored (maglev/rules/flow_entry.h, fragment.h). */
#define LINIMO_XDP_LAYOUT 14u

#define LINIMO_CELL_BYTES 64u
#define LINIMO_PAGE_CELLS 65536u      /* 4 MB */
#define LINIMO_IMAGE_PAGES 1024u      /* of a generation, at most */
#define LINIMO_MAX_ROWS 256u          /* receive queues of all interfaces, and the spare row */
#define LINIMO_MAX_WORDS_BYTES 65536u /* of words on their way to the process */
#define LINIMO_MAX_PORTS 32u          /* interfaces */
#define LINIMO_VIP_PROBES \
  4u /* cells that a look-up may have to read; the process makes the table large enough */
#define LINIMO_EMPTY_VIP 0xffu
#define LINIMO_VIP_RULES 5u
#define LINIMO_MAX_FILTER_BITS 65536u

struct linimo_cell {
  __u64 words[8]; /* also a bucket of flows, or of datagrams */
};

#define LINIMO_CONNECTION_CELLS (LINIMO_MAX_BACKEND_IDS / 16u) /* counts of a row, each a __u32 */

/* An address or prefix in memory order; IPv4 in its mapped form. */
struct linimo_xdp_vip {
  __u64 high, low;
  __u32 rule_first; /* index in the snapshot's rules */
  __u32 rule_count : 24;
  __u32 bits : 8; /* of the prefix; LINIMO_EMPTY_VIP: nothing here */
  /* Where there are no more, the rules stand here too, each a struct linimo_rule; ~0 behind the last. */
  __u64 rules[LINIMO_VIP_RULES];
};

struct linimo_xdp_service {
  __u64 slots; /* of its pool: byte offset in the image */
  __u32 table_size;
  __u32 pool;
  __u32 target_first; /* cell */
  __u32 target_count;
  __u32 source_first; /* index of a linimo_xdp_source; source_count 0: everyone may use it */
  __u32 source_count;
  __u32 id;
  __u32 idle_ticks;    /* of a tracked flow */
  __u32 backend_first; /* of its pool: index of a linimo_xdp_server_id and of a part */
  __u32 unsettled;     /* cell of its pool's block (maglev/unsettled.h) among the unsettled; 0: all slots are
                          settled */
  __u8 tracked;        /* in any case */
  __u8 source_hash;
  __u8 reject;
  __u8 server_id_offset;
  __u8 server_id_length; /* 0: not QUIC */
  __u8 scheduler;
  __u16 members;     /* of the pool's table: its first backends; 0 unless the scheduler keeps state */
  __u8 shares_flows; /* maglev/rules/sharing.h */
  __u8 reserved[7];
};

enum linimo_xdp_life {
  LINIMO_XDP_DOWN,
  LINIMO_XDP_UP,
  LINIMO_XDP_NO_NEW_FLOWS, /* draining, or without weight: keeps its tracked flows */
};

struct linimo_xdp_target {
  __be32 source[4]; /* IPv4 in the mapped form */
  __be32 destination[4];
  __u64 source_hash_mask; /* host byte order: low bits of the source that come from the flow hash */
  __u32 backend_id;
  __u32 pool;
  __u32 checksum_base; /* IPv4: sum over the addresses, without what comes from the flow hash */
  __u16 gue_port;      /* network byte order */
  __u8 header_length;  /* bytes between the link header and the inner IP header */
  __u8 encapsulation;
  __u8 outer_v6;
  __u8 alive;                /* enum linimo_xdp_life */
  __u8 protocol4, protocol6; /* of what follows the outer IP header, for an inner packet of that family */
  __u32 weight;
};

struct linimo_xdp_source { /* two in a cell */
  __u64 high, low;
  __u32 bits;
  __u32 v4; /* ::/0 holds no IPv4 address */
  __u64 reserved;
};

struct linimo_xdp_server_id { /* four in a cell; those of a pool sorted */
  __u64 id;
  __u32 target; /* cell */
  __u32 reserved;
};

/* The bit of an address in a head's filter: that of every prefix in the family's shortest length. */
static inline __u64 linimo_xdp_filter_bit(__u64 masked_high, __u64 masked_low, __u32 shift) {
  return linimo_mix_address(masked_high, masked_low) >> shift;
}

struct linimo_xdp_head {
  __u64 size;                /* of the snapshot at the image's beginning; 0: no generation here */
  __u64 filter_mask4;        /* of an IPv4 address' low word: the shortest prefix that a VIP has */
  __u64 filter_mask6[2];     /* of an IPv6 address */
  __u32 filter_shift;        /* 64 - log2 of the filter's bits in use */
  __u32 service_first;       /* cells, by index in the snapshot */
  __u64 key4_mix[2];         /* XXH3's secret for keys of 16 and of 40 bytes, with the seed already in it */
  __u32 vip_first, vip_mask; /* cells of the hash of VIPs: first, number - 1 */
  __u32 target_of_id_first, target_of_id_count; /* __u32 cells of targets by backend id; 0: none */
  __u64 key6_mix[8];
  __u64 rules; /* byte offset in the image */
  __u32 source_first;
  __u32 server_id_first;
  __u32 part_first; /* __u64 by index of a backend: sums of weights, from its pool's first member on */
  __u32 host_first, host_count; /* the machine's own addresses, 16 bytes each */
  __u32 own_count;              /* the same, and those that tunnels begin at */
  __u32 reply_rate;
  /* The table of which node handles a datagram's fragments: byte offset in the image; 0: there is none. */
  __u64 node_slots;
  __u32 node_table_size;
  __u32 node_target_first, node_count; /* cells of the other nodes' targets */
  __u32 handlers_move;                 /* nodes tell each other of datagrams */
  /* Addresses that other nodes' tunnels lead to: IPv4's low word, IPv6; 0: none. */
  __u64 tunnel_end4, tunnel_end6[2];
  __u8 lengths4_count, lengths6_count; /* prefix lengths in use, longest first */
  __u8 lengths4[33];
  __u8 lengths6[129];
  /* An address whose bit is not set belongs to no VIP. */
  __u64 filter[LINIMO_MAX_FILTER_BITS / 64];
  /* The same of VIPs and of the node's own addresses, which are nobody's source. */
  __u64 source_filter[LINIMO_MAX_FILTER_BITS / 64];
  /* A bit by id: there is such a service. */
  __u64 service_ids[LINIMO_MAX_SERVICES / 64];
};

struct linimo_xdp_generations {
  __u64 active; /* which of the heads is live: the one word that a publication changes under the program */
  struct linimo_xdp_head heads[2];
};

/* Per row, beside its connection table. */
struct linimo_xdp_flows {
  __u64 entries;
  __u64 services_holding; /* services that have entries */
  __u32 of_service[LINIMO_MAX_SERVICES];
  __u32 turns[LINIMO_MAX_SERVICES]; /* taken, of services whose scheduler counts them */
};

struct linimo_xdp_port {
  __u32 ifindex;
  __u16 takes_several; /* frames in several buffers that came in by another one */
  __u8 mac[6];         /* its last four bytes aligned */
  __u32 reserved;
};

/* Per row. */
enum linimo_reply { LINIMO_REPLY_ECHO, LINIMO_REPLY_TOO_BIG, LINIMO_REPLY_REJECT, LINIMO_REPLY_COUNT };
struct linimo_xdp_replies {
  struct linimo_reply_limit of_kind[LINIMO_REPLY_COUNT];
};

/* In front of a frame that the program hands to the process, by AF_XDP. */
struct linimo_xdp_handed {
  __u64 datagram; /* of a fragment that waits for its first one: the hash */
  /* Zero, or an encapsulated frame is to be sent in fragments: */
  __u32 ifindex; /* the device that it leaves by */
  __u16 mtu;     /* of its way */
  __u8 link;     /* bytes of its link header */
  __u8 sent_as;  /* enum linimo_outcome */
};
/* No longer frame is handed over. The kernel takes back what fits into a page beside what it keeps of a frame
 * of its own there (BPF_F_TEST_XDP_LIVE_FRAMES), some 3400 bytes. */
#define LINIMO_XDP_HANDED_MOST 3328u
#define LINIMO_XDP_HANDED_WAY(ifindex, mtu, link, sent_as) \
  ((__u64)(ifindex) | (__u64)(__u16)(mtu) << 32 | (__u64)(__u8)(link) << 48 | (__u64)(sent_as) << 56)

#ifdef __cplusplus
#define LINIMO_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type " changed its layout")
#else
#define LINIMO_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " changed its layout")
#endif
LINIMO_ASSERT_SIZE(struct linimo_cell, 64);
LINIMO_ASSERT_SIZE(struct linimo_xdp_vip, 64);
LINIMO_ASSERT_SIZE(struct linimo_xdp_service, 64);
LINIMO_ASSERT_SIZE(struct linimo_xdp_target, 64);
LINIMO_ASSERT_SIZE(struct linimo_xdp_source, 32);
LINIMO_ASSERT_SIZE(struct linimo_xdp_server_id, 16);
LINIMO_ASSERT_SIZE(struct linimo_xdp_handed, 16);
#undef LINIMO_ASSERT_SIZE

#endif
