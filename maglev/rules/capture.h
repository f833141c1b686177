/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * One packet of a capture: how it came, what became of it, how it left. Both engines fill it, and it is what
 * the data plane sends (maglev/protocol.h). And how many a worker, or a CPU, may take.
 */
#ifndef LINIMO_MAGLEV_RULES_CAPTURE_H
#define LINIMO_MAGLEV_RULES_CAPTURE_H

#include "maglev/rules/rule.h"

#define LINIMO_CAPTURE_SNAP 4096u /* bytes of a frame, at most */
#define LINIMO_CAPTURE_NONE (~0u)
#define LINIMO_CAPTURE_RATE 10000u /* packets a second, at most */

struct linimo_captured {
  __u32 type;    /* of the message that it becomes */
  __u32 row;     /* of the worker or receive queue */
  __u64 time_ns; /* since 1970 */
  __u64 missed;  /* packets that the filter wanted and the capture did not get, up to now */
  __u32 outcome; /* linimo_outcome; LINIMO_OUTCOME_COUNT: held until the first fragment comes */
  __u32 backend; /* id, LINIMO_CAPTURE_NONE: it got none; as the next two */
  __u32 service;
  __u32 encapsulation;
  __u32 in_length;  /* of the frame; what is kept of it comes first in `bytes` */
  __u32 out_length; /* of the frame that left by `out_port`; 0: none did, or `fragmented` */
  __u16 in_kept;
  __u16 out_kept;
  __u8 in_port;
  __u8 out_port;
  __u8 fragmented; /* 1: it left in fragments, which are not kept */
  __u8 reserved;
  __u8 bytes[2 * LINIMO_CAPTURE_SNAP];
};

/* In tenths of a second, so that one crowded moment does not take the next one's share. */
struct linimo_capture_rate {
  __u64 tenth;
  __u64 taken;
};

LINIMO_RULE int linimo_capture_admits(struct linimo_capture_rate* rate, __u32 most, __u64 now_ns) {
  const __u64 tenth = now_ns / 100000000;
  if (rate->tenth != tenth) {
    rate->tenth = tenth;
    rate->taken = 0;
  }
  if (rate->taken >= most / 10) return 0;
  ++rate->taken;
  return 1;
}

#endif
