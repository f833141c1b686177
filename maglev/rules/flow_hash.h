/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * What is hashed, and what a hash chooses. The hash is XXH3-64 over a linimo_key4 or linimo_key6
 * (maglev/abi.h), of which these are the last eight bytes, as one word: maglev/hash.h asks libxxhash,
 * bpf/hash.h computes the same. Each use of it begins with bits of its own: slot of the Maglev table      low
 * 32 bits, scaled by multiplication (no division) bucket and fingerprint of the connection table   from the
 * highest bit (flow_entry.h)
 */
#ifndef LINIMO_MAGLEV_RULES_FLOW_HASH_H
#define LINIMO_MAGLEV_RULES_FLOW_HASH_H

#include "maglev/rules/protocols.h"

/* `ports`: source and destination, as they follow one another on the wire. With the scheduler "source_hash"
 * it is 0, and so is the destination address. */
LINIMO_RULE __u64 linimo_key_end(__u32 ports, __u8 protocol) {
  return ports | (__u64)protocol << 32;
}

/* Of a datagram's key, for what is remembered of its fragments. IPv4's datagrams are told apart by (source,
 * destination, protocol, identification), IPv6's without the protocol: RFC 791; RFC 8200, 4.5. No flow has
 * such a key. `id`: as it lies on the wire. */
LINIMO_RULE __u64 linimo_datagram_key_end(int v6, __u32 id, __u8 protocol) {
  return v6 ? linimo_key_end(id, 0xff) : linimo_key_end(id & 0xffff, protocol) | 1ULL << 40;
}

/* A slot in [0, table_size): Lemire, "Fast random integer generation in an interval" (2019). */
LINIMO_RULE __u32 linimo_slot_of(__u64 hash, __u32 table_size) {
  return (__u32)((hash & 0xffffffff) * table_size >> 32);
}

#endif
