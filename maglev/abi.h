/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The snapshot: everything that forwarding needs to know, in one immutable, position-independent block.
 * The control plane writes it, both engines read it, so this file is plain C that the C++ code and the
 * BPF program include alike. A reader must treat the block as hostile until it is validated (snapshot.h).
 *
 * Shape: one linimo_header, then the sections it names, each an array of fixed-size records at a multiple
 * of 8 bytes; last the slots, the pools' tables one behind the other up to the end. Integers are in host byte
 * order (a snapshot never leaves its machine); addresses are in network byte order, IPv4 in its mapped form
 * ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that one type serves both families. All padding is zero. Any change
 * of layout or meaning changes LINIMO_ABI_VERSION.
 */
#ifndef LINIMO_MAGLEV_ABI_H
#define LINIMO_MAGLEV_ABI_H

#include <linux/types.h>

#define LINIMO_SNAPSHOT_MAGIC 0x504e53204f4d4e4cULL /* "LNMO SNP" read as bytes */
#define LINIMO_ABI_VERSION 8u

#define LINIMO_NAME_SIZE 64u            /* with the terminating NUL */
#define LINIMO_MAX_SERVICES 4096u       /* service ids fit 12 bits of a connection table entry */
#define LINIMO_MAX_BACKEND_IDS 262144u  /* backend ids fit 18 bits of it */
#define LINIMO_MAX_POOL_BACKENDS 65535u /* slots are 16-bit indices */
#define LINIMO_MAX_IDLE_TIMEOUT_S 3600u /* a connection table entry's stamp counts 4096 s */
#define LINIMO_NO_BACKEND 0xffffu       /* a slot of a table without members */
#define LINIMO_MAX_TABLE_SIZE 16777259u
#define LINIMO_MAX_SNAPSHOT_BYTES (4ULL << 30)
#define LINIMO_MAX_SERVER_ID_LENGTH 8u /* bytes */
#define LINIMO_MAX_CONNECTION_ID 20u   /* bytes of a QUIC connection id, RFC 9000, 17.2 */
#define LINIMO_GUE_PORT 6080u          /* IANA: gue */

enum linimo_hash_algorithm { LINIMO_HASH_XXH3_64 = 1 };  /* of a linimo_key4 or linimo_key6, with the seed */
enum linimo_table_algorithm { LINIMO_TABLE_MAGLEV = 1 }; /* table.h */

enum linimo_section {
  LINIMO_SECTION_VIPS,
  LINIMO_SECTION_RULES,
  LINIMO_SECTION_SERVICES,
  LINIMO_SECTION_SOURCES,
  LINIMO_SECTION_POOLS,
  LINIMO_SECTION_BACKENDS,
  LINIMO_SECTION_UNSETTLED,
  LINIMO_SECTION_SLOTS,
  LINIMO_SECTION_COUNT
};

enum linimo_tracking {
  LINIMO_TRACKING_OFF,
  LINIMO_TRACKING_FULL,
  LINIMO_TRACKING_ADAPTIVE, /* only flows of slots that are not settled */
  LINIMO_TRACKING_COUNT
};
/* Who gets a new flow. From ROUND_ROBIN on the answer depends on the flows before it, so that each flow has
 * to be tracked (LINIMO_TRACKING_FULL); what is in no connection table and begins no flow goes where the
 * pool's table says, as with MAGLEV. */
enum linimo_scheduler {
  LINIMO_SCHEDULER_MAGLEV,      /* the pool's table, by the hash of the flow */
  LINIMO_SCHEDULER_SOURCE_HASH, /* the pool's table, by the hash of the source address alone */
  LINIMO_SCHEDULER_ROUND_ROBIN, /* the members in turn, whatever their weights */
  LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN,
  LINIMO_SCHEDULER_LEAST_CONNECTIONS, /* of two members the one with fewer flows for its weight */
  LINIMO_SCHEDULER_COUNT
};
enum linimo_encapsulation { LINIMO_ENCAP_IPIP, LINIMO_ENCAP_GRE, LINIMO_ENCAP_GUE, LINIMO_ENCAP_COUNT };
enum linimo_backend_state {
  LINIMO_BACKEND_UP,
  LINIMO_BACKEND_DRAINING, /* keeps its tracked flows, gets no new ones */
  LINIMO_BACKEND_DOWN,
  LINIMO_BACKEND_STATE_COUNT
};
enum linimo_no_backend { LINIMO_NO_BACKEND_DROP, LINIMO_NO_BACKEND_REJECT, LINIMO_NO_BACKEND_COUNT };

struct linimo_addr {
  __u8 bytes[16];
};

struct linimo_extent {
  __u64 offset; /* bytes from the start of the snapshot */
  __u32 count;  /* records */
  __u32 record_size;
};

struct linimo_header {
  __u64 magic;
  __u32 abi_version;
  __u32 header_size;
  __u32 hash_algorithm;
  __u32 table_algorithm;
  __u64 generation; /* from 1, rising */
  __u64 size;       /* of the whole snapshot, bytes */
  __u64 checksum;   /* XXH3-64 of all that comes before the slots, this field taken as zero */
  __u64 hash_seed;  /* secret: it keeps clients from aiming at a slot or a bucket */
  __u64 digest;     /* of all tables; equal on all nodes that would choose the same backends */
  struct linimo_addr encap_source4; /* all zero: none */
  struct linimo_addr encap_source6;
  /* Leading bits of the sources (of the 128-bit form, at least 64 for IPv6) that stay; those behind them come
   * from the flow hash, so that a backend's RSS spreads. 128: all of them stay. */
  __u32 encap_prefix4;
  __u32 encap_prefix6;
  __u32 reply_rate; /* replies of each kind (echo, too big, reject) a second from one worker; 0: no limit */
  __u32 announce_table;    /* the kernel's routing table that VIPs are announced by; 0: none are */
  __u32 orphan_timeout_ms; /* they are withdrawn after so long without a control plane; 0: never */
  __u16 node_pool;         /* 1 + index of the pool whose backends are the fleet's other nodes, by whose table
                              fragments go to the one that handles them (rules/passing.h); 0: there is none */
  __u16 handlers_move;     /* 1: that table changes, or has lately: nodes tell each other of datagrams */
  struct linimo_extent sections[LINIMO_SECTION_COUNT];
};

/* A VIP or a prefix of VIPs, sorted by (prefix_length descending, address). Host bits are zero. The longest
 * match decides; its rules already contain what shorter prefixes covering it add. */
struct linimo_vip {
  struct linimo_addr address;
  __u32 prefix_length; /* of the 128-bit form: an IPv4 /24 is 120 */
  __u32 rule_first;
  __u32 rule_count;
  __u32 reserved;
};

/* Ports of one VIP that belong to a service. The rules of a VIP are disjoint and sorted by
 * (protocol, port_first): precedence is resolved when the snapshot is built. */
struct linimo_rule {
  __u16 port_first; /* host byte order, both ends included */
  __u16 port_last;
  __u16 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
  __u16 service;  /* index */
};

struct linimo_source { /* a prefix whose hosts may use a service */
  struct linimo_addr address;
  __u32 prefix_length;
  __u32 reserved;
};

struct linimo_service {
  char name[LINIMO_NAME_SIZE];
  __u32 id; /* < LINIMO_MAX_SERVICES; kept while the service exists */
  __u32 pool;
  __u32 source_first; /* source_count 0: everyone may use it */
  __u32 source_count;
  __u32 idle_timeout_s; /* of a tracked flow, 1 to LINIMO_MAX_IDLE_TIMEOUT_S */
  __u8 protocol;
  __u8 tracking;
  __u8 no_backend;
  __u8 scheduler;
  __u8 quic;             /* 1: a server id in the connection id wins over table and tracking */
  __u8 server_id_offset; /* of the server id in the connection id (draft-ietf-quic-load-balancers: 1) */
  __u8 shares_flows;     /* 1: nodes tell each other of flows (rules/sharing.h); tracking adaptive alone */
  __u8 reserved[5];
};

/* What nodes tell each other of a flow. */
struct linimo_flow_word {
  __u64 hash;
  __u32 backend; /* id */
  __u16 service; /* id */
  __u8 ended;    /* 1: it is to be forgotten */
  __u8 datagram; /* 1: the hash is of a datagram, whose first fragment went there */
};

struct linimo_pool {
  char name[LINIMO_NAME_SIZE];
  __u64 slot_first;
  __u32 table_size;
  __u32 backend_first;
  __u32 backend_count;
  __u8 encapsulation;
  __u8 server_id_length; /* bytes, at most LINIMO_MAX_SERVER_ID_LENGTH; 0: its backends have none */
  __u16 gue_port;        /* UDP destination, host byte order; 0 unless the encapsulation is GUE */
  __u64 digest;
  __u64 slots_checksum; /* XXH3-64 of the table_size slots: with a hundred tables, one that changed is one to
                           hash */
  __u32 unsettled_first;
  __u32 unsettled_count;
};

/* Members of the table come first, sorted by address; then the pool's other backends, sorted. */
struct linimo_backend {
  struct linimo_addr address;
  __u32 id; /* < LINIMO_MAX_BACKEND_IDS: stands for (pool, address) */
  __u32 weight;
  __u32 state;
  __u32 reserved;
  __u64 server_id; /* its bytes read as a big-endian integer; unique in the pool; 0 where the pool has none */
};

/* A slot whose backend has changed, while flows that were there before may not have been heard of yet: those
 * that no connection table knows and that do not begin go to the base. Of one pool sorted by slot. */
struct linimo_unsettled {
  __u32 slot;
  __u16 base;       /* the backend before the change: index into the pool's backends */
  __u16 learning_s; /* that are left, from when the snapshot is taken over, at most LINIMO_MAX_IDLE_TIMEOUT_S;
                       0: the base counts no more */
};

/* Index into the pool's backends, or LINIMO_NO_BACKEND: there is none; of the pool of nodes, this node. */
typedef __u16 linimo_slot;

/* What is hashed to choose a slot. Addresses and ports in network byte order. */
struct linimo_key4 {
  __u32 source;
  __u32 destination;
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 zero[3];
};

struct linimo_key6 {
  __u8 source[16];
  __u8 destination[16];
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 zero[3];
};

/* What became of a packet: each has a counter of that name, in both engines. */
#define LINIMO_OUTCOMES(X)                                                            \
  X(forwarded)       /* to a backend */                                               \
  X(kernel)          /* not for a VIP: to the host */                                 \
  X(kernel_control)  /* the same, on the ring of ARP, ND, BGP and BFD */              \
  X(from_kernel)     /* sent by the host */                                           \
  X(echo_reply)      /* answered by Linimo */                                         \
  X(icmp_error)      /* an ICMP error, forwarded to the backend of the quoted flow */ \
  X(too_big_reply)   /* answered: fragmentation needed, packet too big */             \
  X(reject_reply)    /* answered: TCP RST, port unreachable */                        \
  X(fragment_passed) /* a fragment, to the node that handles its datagram */          \
  X(no_service)      /* the rest are drops */                                         \
  X(malformed)                                                                        \
  X(bad_checksum)                                                                     \
  X(not_allowed)                                                                      \
  X(martian)                                                                          \
  X(no_backend)                                                                       \
  X(no_route)                                                                         \
  X(no_nexthop)                                                                       \
  X(wrong_egress)                                                                     \
  X(too_big)                                                                          \
  X(fragment_unmatched)                                                               \
  X(rate_limited)                                                                     \
  X(tx_full)                                                                          \
  X(kernel_full)                                                                      \
  X(fragmented_frame) /* in several buffers, and longer than one */

enum linimo_outcome {
#define LINIMO_OUTCOME_ENUMERATOR(name) LINIMO_OUTCOME_##name,
  LINIMO_OUTCOMES(LINIMO_OUTCOME_ENUMERATOR)
#undef LINIMO_OUTCOME_ENUMERATOR
      LINIMO_OUTCOME_COUNT
};

#ifdef __cplusplus
#define LINIMO_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type " changed its layout")
#else
#define LINIMO_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " changed its layout")
#endif
LINIMO_ASSERT_SIZE(struct linimo_addr, 16);
LINIMO_ASSERT_SIZE(struct linimo_extent, 16);
LINIMO_ASSERT_SIZE(struct linimo_header, 120 + 16 * LINIMO_SECTION_COUNT);
LINIMO_ASSERT_SIZE(struct linimo_vip, 32);
LINIMO_ASSERT_SIZE(struct linimo_rule, 8);
LINIMO_ASSERT_SIZE(struct linimo_source, 24);
LINIMO_ASSERT_SIZE(struct linimo_service, 96);
LINIMO_ASSERT_SIZE(struct linimo_pool, 112);
LINIMO_ASSERT_SIZE(struct linimo_backend, 40);
LINIMO_ASSERT_SIZE(struct linimo_unsettled, 8);
LINIMO_ASSERT_SIZE(struct linimo_key4, 16);
LINIMO_ASSERT_SIZE(struct linimo_key6, 40);
#undef LINIMO_ASSERT_SIZE

#endif
