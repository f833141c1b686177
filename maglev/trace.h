/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What an engine says of one packet that it is asked about: each step that it took, and on what ground.
 *
 * The code that forwards is compiled a second time, with LINIMO_TRACED. Where it tells, LINIMO_TELL has a
 * statement that only that build has; what would outlast the packet (a flow that is remembered, a turn that
 * is taken, a count) is in LINIMO_UNTRACED, which that build has not. So what forwards is the same to the
 * last instruction whether it can be traced or not, and what explains it cannot have another opinion.
 *
 * Plain C, because both engines fill it. Zero: not asked, since an earlier step has decided.
 */
#ifndef LINIMO_MAGLEV_TRACE_H
#define LINIMO_MAGLEV_TRACE_H

#include <linux/types.h>

#ifdef LINIMO_TRACED
#define LINIMO_TELL(...) __VA_ARGS__
#define LINIMO_UNTRACED(...)
#else
#define LINIMO_TELL(...)
#define LINIMO_UNTRACED(...) __VA_ARGS__
#endif

/* How far it came: the last step that it passed. */
enum linimo_trace_step {
  LINIMO_TRACE_NOTHING,   /* no generation, or no IP packet */
  LINIMO_TRACE_LOCATED,   /* an IP packet */
  LINIMO_TRACE_ADDRESSED, /* to the interface's own MAC address */
  LINIMO_TRACE_TO_VIP,
  LINIMO_TRACE_SOUND,   /* lengths, checksum and source are right */
  LINIMO_TRACE_SERVICE, /* there is one */
  LINIMO_TRACE_ALLOWED, /* and its source may use it */
  LINIMO_TRACE_CHOSEN,  /* a backend */
  LINIMO_TRACE_WAY,     /* which has one */
  LINIMO_TRACE_SENT,    /* in the tunnel */
};

enum linimo_trace_source { LINIMO_TRACE_SOURCE_FINE, LINIMO_TRACE_SOURCE_MARTIAN, LINIMO_TRACE_SOURCE_OWN };

enum linimo_trace_icmp {
  LINIMO_TRACE_NO_ICMP,
  LINIMO_TRACE_ICMP_ECHO,
  LINIMO_TRACE_ICMP_ERROR, /* that quotes a flow */
  LINIMO_TRACE_ICMP_NEIGHBOUR,
  LINIMO_TRACE_ICMP_OTHER,
};

/* Who said where it goes. */
enum linimo_trace_decider {
  LINIMO_TRACE_BY_NOBODY,
  LINIMO_TRACE_BY_NAME,      /* the packet, by a QUIC connection id */
  LINIMO_TRACE_BY_ENTRY,     /* its flow's entry in a connection table */
  LINIMO_TRACE_BY_BASE,      /* the backend before the slot's change */
  LINIMO_TRACE_BY_SLOT,      /* the pool's table */
  LINIMO_TRACE_BY_SCHEDULER, /* whose turn it is */
  LINIMO_TRACE_BY_FRAGMENT,  /* the first fragment of its datagram */
  LINIMO_TRACE_BY_WORD,      /* another node, or this one, has told of the flow */
  LINIMO_TRACE_BY_HANDLER,   /* the table of nodes: another one handles the datagram's fragments */
};

/* What a real packet would have left behind. */
enum linimo_trace_memory {
  LINIMO_TRACE_KEEPS_NOTHING,
  LINIMO_TRACE_KEEPS_NEW,   /* an entry */
  LINIMO_TRACE_KEEPS_TOUCH, /* a newer one */
  LINIMO_TRACE_KEEPS_MOVE,  /* another backend in it */
  LINIMO_TRACE_NO_ROOM,     /* for an entry */
};

struct linimo_trace {
  __u64 generation;
  __u64 hash;  /* of the flow, or of the datagram */
  __u64 entry; /* of the flow: a word of maglev/rules/flow_entry.h */
  __u64 rule;  /* that matched: a struct linimo_rule as it lies in memory */
  __u64 way;   /* of the backend: as in struct linimo_next_hop, as the next two */
  __u64 tags;
  __u32 mtu;
  __u32 reached;  /* linimo_trace_step */
  __u32 vip_bits; /* of the 128-bit form; 0: no VIP */
  __u32 verdict;  /* linimo_verdict */
  __u32 source;   /* linimo_trace_source */
  __u32 icmp;     /* linimo_trace_icmp */
  __u32 service;  /* id, from TO_SERVICE on */
  __u32 slot;
  __u32 table_size; /* 0: no slot was asked for */
  __u32 unsettled;  /* 1: the slot has changed lately */
  __u32 tracked;    /* 1: the connection table was asked */
  __u32 entry_age;  /* ms */
  __u32 entry_use;  /* 1 + linimo_entry_use */
  __u32 memory;     /* linimo_trace_memory */
  __u32 decider;    /* linimo_trace_decider */
  __u32 backend;    /* id, from CHOSEN on */
  __u32 keeps_only; /* 1: the backend gets no new flows */
  __u32 encapsulation;
  __u32 inner_length;  /* of the packet that came, IP header and all */
  __u32 header_length; /* of the tunnel */
  __u32 outcome;       /* linimo_outcome; LINIMO_OUTCOME_COUNT: held until the first fragment comes */
  __u32 row;           /* worker or receive queue whose memory was asked */
  __u32 pieces;        /* frames that it leaves in */
  __u32 passed;        /* 1: it came from another node, in a tunnel that was taken off */
};

#ifdef __cplusplus
static_assert(sizeof(struct linimo_trace) == 144, "linimo_trace changed its layout");
#else
_Static_assert(sizeof(struct linimo_trace) == 144, "linimo_trace changed its layout");
#endif

#endif
