/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What of the kernel's packets the host's control traffic needs: ARP, neighbour discovery, MLD, LLDP, BGP,
 * BFD.
 */
#ifndef LINIMO_MAGLEV_RULES_CONTROL_H
#define LINIMO_MAGLEV_RULES_CONTROL_H

#include "maglev/rules/protocols.h"

/* By the EtherType alone, as it lies in memory. */
LINIMO_RULE int linimo_is_control_type(__u16 type) {
  return type == LINIMO_TYPE_ARP || type == LINIMO_TYPE_LLDP;
}

/* MLD, neighbour and router discovery, redirect. */
LINIMO_RULE int linimo_is_control_icmpv6(__u8 type) {
  return (type >= 130 && type <= 137) || type == 143;
}

LINIMO_RULE int linimo_is_control_port(__u8 protocol, __u16 port) {
  if (protocol == LINIMO_TCP) return port == 179;                      /* BGP, RFC 4271 */
  return port == 3784 || port == 3785 || port == 4784 || port == 6784; /* BFD, RFC 5881, 5883, 7130 */
}

/* `first`: the first four bytes behind the IP headers, as they lie in memory. */
LINIMO_RULE int linimo_is_control(__u8 protocol, __u32 first) {
  if (protocol == LINIMO_ICMPV6) return linimo_is_control_icmpv6((__u8)first);
  if (protocol != LINIMO_TCP && protocol != LINIMO_UDP) return 0;
  return linimo_is_control_port(protocol, LINIMO_SWAP16(first)) ||
         linimo_is_control_port(protocol, LINIMO_SWAP16(first >> 16));
}

#endif
