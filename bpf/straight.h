/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The straight path: what becomes of nearly every packet, in one go and with hardly any stack. It takes an
 * IPv4 packet of TCP or UDP without options, fragments, padding or tags, whose backend its entry or its
 * settled slot says, and that is behind the same interface. Nothing is changed before all that is certain;
 * whatever is otherwise takes the whole path (linimo.bpf.c), which would do the same with these, byte for
 * byte: tests/packets sends every case both ways.
 */
#ifndef LINIMO_BPF_STRAIGHT_H
#define LINIMO_BPF_STRAIGHT_H

#include "connections.h"
#include "encapsulate.h"
#include "maglev/rules/choice.h"
#include "unsettled.h"

/* What the straight path answers when the packet is not one for it. */
enum { kWholePath = -1 };

/* The words of an IPv4 header and of what follows, as they lie in memory. */
enum {
  kVersionToLength,
  kIdToFragment,
  kTtlToChecksum,
  kSource,
  kDestination,
  kPorts,
  kUdpLengthToChecksum,
  kUdpWords, /* so far at least each packet reaches that goes straight */
  kTcpOffsetToWindow,
  kTcpWords,
};

/* Whole, sound, of TCP or UDP, for this interface's own address, from a source that may be. `tcp_word`: from
 * TCP's data offset to its window, or 0. */
static __always_inline int is_plain(const void* data, const void* data_end, const __u32* ip,
                                    __u32* tcp_word) {
  const __u32 length = bpf_ntohs(ip[kVersionToLength] >> 16);
  const __u32 protocol = ip[kTtlToChecksum] >> 8 & 0xff;
  if (*(const __be16*)(data + __builtin_offsetof(struct ethhdr, h_proto)) != bpf_htons(ETH_P_IP) ||
      (ip[kVersionToLength] & 0xff) != 0x45 || length != data_end - data - ETH_HLEN ||
      linimo_fragment_kind4(ip[kIdToFragment] >> 16) != LINIMO_WHOLE ||
      !linimo_is_addressed_to(*(const __u64*)data, port_mac) || linimo_is_martian4(ip[kSource]))
    return 0;
  const __u64 sum = (__u64)ip[kVersionToLength] + ip[kIdToFragment] + ip[kTtlToChecksum] + ip[kSource] +
                    ip[kDestination];
  if (linimo_checksum_fold(sum) != 0xffff) return 0;
  const __u32 payload = length - sizeof(struct iphdr);
  *tcp_word = 0;
  if (protocol == IPPROTO_UDP)
    return linimo_is_sound_udp(bpf_ntohs(ip[kUdpLengthToChecksum]), payload, LINIMO_WHOLE);
  if (protocol != IPPROTO_TCP || (void*)(ip + kTcpWords) > data_end) return 0;
  *tcp_word = ip[kTcpOffsetToWindow];
  return linimo_is_sound_tcp((*tcp_word & 0xf0) >> 2, payload);
}

/* find_flow() without a call for nearly all flows, which are in their first bucket. */
static __always_inline __u64 find_flow_inline(__u32 row, __u64 hash, __u32 service_id) {
  void* table = bpf_map_lookup_elem(&connections, &row);
  if (!table) return 0;
  const struct linimo_flow_places at = places_of(hash, service_id);
  const __u64 found = entry_in(cell(table, at.first), at.flow);
  return found != 0 ? found : find_flow(row, hash, service_id);
}

static __always_inline int straight(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  const __u32* ip = data + ETH_HLEN;
  if ((void*)(ip + kUdpWords) > data_end) return kWholePath;
  const __u32 first = ip[kVersionToLength], second = ip[kIdToFragment], ports = ip[kPorts];
  const __u64 addresses = ip[kSource] | (__u64)ip[kDestination] << 32;
  const struct words from = words_of_v4(addresses), to = words_of_v4(addresses >> 32);

  struct generation generation;
  if (!live_generation(&generation) || !may_be_vip(generation.head, &to, 1)) return kWholePath;
  __u32 tcp_word;
  if (!is_plain(data, data_end, ip, &tcp_word) ||
      is_in_filter(generation.head, generation.head->source_filter, &from, 1) || !live_image(&generation))
    return kWholePath;
  const __u8 protocol = ip[kTtlToChecksum] >> 8;
  const __u8 flags = tcp_word >> 8;
  const struct linimo_xdp_vip* vip = find_vip(&generation, &to, 1);
  if (!vip) return kWholePath;
  const struct linimo_xdp_service* service =
      find_service(&generation, vip, protocol, bpf_ntohs(ports >> 16));
  if (!service || service->source_count != 0 || service->source_hash || service->server_id_length != 0 ||
      service->members != 0)
    return kWholePath;

  const __u64 key[2] = {addresses, linimo_key_end(ports, protocol)};
  const __u64 hash = hash_key4(generation.head, key);
  const __u32 row = row_of_queue(ctx->rx_queue_index);
  const __u32 slot = slot_of(hash, service);
  if (unsettled_block(&generation, service, slot) != 0) return kWholePath;
  const int tracked = linimo_is_tracked(service->tracked, 0), leaves_a_trace = linimo_leaves_a_trace(flags);
  const __u32 now = tracked ? ticks_now() : 0;
  const __u64 found = tracked ? find_flow_inline(row, hash, service->id) : 0;
  __u64 touched = found;
  const struct linimo_xdp_target* target;
  if (found != 0) {
    if (is_expired(found, service->idle_ticks, now)) return kWholePath;
    target = target_of_id(&generation, linimo_flow_backend(found));
    if (!target || target->pool != service->pool) return kWholePath;
    const int begins = linimo_begins_connection(flags);
    if (linimo_use_of_entry(target->alive, 0, begins, target->alive != LINIMO_XDP_NO_NEW_FLOWS,
                            linimo_flow_may_have_ended(found, now, LINIMO_TICKS)) != LINIMO_ENTRY_FOLLOWED)
      return kWholePath;
    if (leaves_a_trace) touched = linimo_flow_touched(found, flags & LINIMO_FIN, begins, now);
  } else {
    target = target_of_slot(&generation, service, slot);
    if (!target) return kWholePath;
  }

  struct way_out way;
  const __u32 length = bpf_ntohs(first >> 16);
  if (way_to(target->backend_id, &way) != LINIMO_OUTCOME_forwarded || way.port != port_number ||
      way.tags != 0 || target->outer_v6 || length + target->header_length > way.mtu)
    return kWholePath;

  const __u32 service_id = service->id, backend_id = target->backend_id;
  if (touched != found) {
    replace_flow(row, hash, service_id, found, touched);
  } else if (tracked && found == 0 && leaves_a_trace) {
    const struct wanted_flow want = {hash, row, service_id, backend_id, service->idle_ticks, now, 0};
    // No room is no reason to drop: the flow's next packet will take the same slot.
    if (insert_flow(&want))
      count_new_flow(row, service_id, backend_id);
    else
      count_unstored(row);
  }
  if (bpf_xdp_adjust_head(ctx, -(int)target->header_length)) {
    count_outcome(row, LINIMO_OUTCOME_tx_full);
    return XDP_DROP;
  }
  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  const struct packet inner = {.ip_length = length,
                               .ip_id = second,
                               .ip_fragment = second >> 16,
                               .traffic_class = first >> 8};
  way.tags = 0;
  const __u64 mac = port_mac;
  struct linimo_xdp_port port;
  __builtin_memcpy(port.mac, &mac, sizeof port.mac);
  void* outer = write_link(data, data_end, &way, &port, 0);
  if (!outer || !write_outer_v4(outer, data_end, target, &inner, hash)) return XDP_DROP;
  count_traffic(row, kCountersServices + service_id, length);
  count_traffic(row, kCountersBackends + backend_id, length);
  count_outcome(row, LINIMO_OUTCOME_forwarded);
  return XDP_TX;
}

#endif
