/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * In which order a packet's backend is chosen: the one that it names, the one that its flow is tracked to,
 * while these live; the one before its slot's change, while the slot learns and the packet begins no flow;
 * the table's. Who asks for what, and when, is the caller's: dataplane/forward/pipeline.cc, bpf/linimo.bpf.c,
 * bench/fleet.
 */
#ifndef LINIMO_MAGLEV_RULES_CHOICE_H
#define LINIMO_MAGLEV_RULES_CHOICE_H

#include "maglev/rules/protocols.h"

/* Does the flow need an entry? Where an adaptive service's slot is settled, the table is all the memory that
 * it needs. `tracked`: by its service in any case. */
LINIMO_RULE int linimo_is_tracked(int tracked, int is_unsettled) {
  return tracked || is_unsettled;
}

/* What an entry that is found and lives means for a packet. */
enum linimo_entry_use {
  LINIMO_ENTRY_FOLLOWED,
  LINIMO_ENTRY_REDIRECTED, /* the flow's packets go elsewhere from now on, and the entry says so */
  LINIMO_ENTRY_ENDED,      /* this is another connection, which goes where it would without the entry */
};

/* `usable`: the entry's backend lives, and is of the service's pool; `names_another`: the packet does. A
 * draining backend keeps its connections, but the next one from the port of one that has ended is no more its
 * than any other is. */
LINIMO_RULE enum linimo_entry_use linimo_use_of_entry(int usable, int names_another, int begins,
                                                      int takes_new_flows, int may_have_ended) {
  if (!usable || names_another) return LINIMO_ENTRY_REDIRECTED;
  return begins && !takes_new_flows && may_have_ended ? LINIMO_ENTRY_ENDED : LINIMO_ENTRY_FOLLOWED;
}

/* Does a SYN repeat the one that began its connection, of a flow that is followed? Then nobody has answered
 * in sight of its client, or the client has reset what there was and begins anew from the same port, which is
 * rare. `may_have_ended`: then it may as well begin the next one. */
LINIMO_RULE int linimo_is_repeated_syn(int begins, int may_have_ended) {
  return begins && !may_have_ended;
}

/* May the packet change what is remembered of its flow, or make it be remembered? A RST only looks up: a
 * forged one must not be able to shorten or lengthen anything. */
LINIMO_RULE int linimo_leaves_a_trace(__u8 tcp_flags) {
  return (tcp_flags & LINIMO_RST) == 0;
}

/* Does a packet of a flow that nobody knows ask its slot's base? One that does not begin now is older than
 * the slot's change. */
LINIMO_RULE int linimo_asks_base(int is_unsettled, int begins) {
  return is_unsettled && !begins;
}

/* Of a service whose scheduler keeps state: what does not begin a flow in sight may have begun at another
 * worker; else, such as a connection that another node has begun, it stays with the table's answer, which all
 * nodes share. */
LINIMO_RULE int linimo_is_midway(__u8 protocol, __u8 tcp_flags) {
  return protocol == LINIMO_TCP && !linimo_begins_connection(tcp_flags);
}

#endif
