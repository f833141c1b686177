/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What a backend's next hop, a record of maglev/next_hop.h, says.
 */
#ifndef LINIMO_MAGLEV_RULES_NEXT_HOP_H
#define LINIMO_MAGLEV_RULES_NEXT_HOP_H

#include "maglev/abi.h"
#include "maglev/next_hop.h"
#include "maglev/rules/rule.h"

/* A linimo_next_hop_state, unless nobody has written the word. */
LINIMO_RULE __u32 linimo_next_hop_state_of(__u64 way) {
  return (__u32)(way >> LINIMO_NEXT_HOP_STATE_SHIFT);
}
LINIMO_RULE __u32 linimo_next_hop_port(__u64 way) {
  return (__u8)(way >> LINIMO_NEXT_HOP_PORT_SHIFT);
}

/* As what a packet is dropped that has no way. */
LINIMO_RULE enum linimo_outcome linimo_next_hop_outcome(__u32 state) {
  return state == LINIMO_NEXT_HOP_RESOLVED       ? LINIMO_OUTCOME_forwarded
         : state == LINIMO_NEXT_HOP_NO_ROUTE     ? LINIMO_OUTCOME_no_route
         : state == LINIMO_NEXT_HOP_WRONG_EGRESS ? LINIMO_OUTCOME_wrong_egress
                                                 : LINIMO_OUTCOME_no_nexthop;
}

/* Bytes of its VLAN tags. */
LINIMO_RULE __u32 linimo_tags_length(__u64 tags) {
  return tags == 0 ? 0 : tags >> 32 == 0 ? 4 : 8;
}

#endif
