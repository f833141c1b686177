/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
 *
 * The straight path: what becomes of nearly every packet, in one go and with hardly any stack. It takes a
 * packet of TCP or UDP without options, extension headers, fragments, padding or tags, whose backend its
 * entry or its settled slot says, and that is behind the same interface. Nothing is changed before all that
 * is certain; whatever is otherwise takes the whole path (linimo.bpf.c), which would do the same with these,
 * byte for byte: tests/packets sends every case both ways.
 */
#ifndef LINIMO_BPF_STRAIGHT_H
#define LINIMO_BPF_STRAIGHT_H

#include "connections.h"
#include "encapsulate.h"
#include "maglev/rules/choice.h"
#include "unsettled.h"

/* What the straight path answers when the packet is not one for it. */
enum { kWholePath = -1 };

/* What is read of a plain packet; the fields of the IP header as they lie in memory. */
struct plain {
  struct words source, destination;
  __u32 length; /* of the IP packet, which the frame holds to its end */
  __u32 ports;
  __u32 id_and_fragment; /* IPv4 */
  __u8 traffic_class;
  __u8 protocol;
  __u8 tcp_flags;
};

/* Does the IP packet end with the frame? Where that has several buffers the kernel is asked, and only there:
 * none has that the first buffer of at most an Ethernet frame's usual length holds to its IP packet's end. */
static __always_inline int ends_with_frame(struct xdp_md* ctx, __u32 length) {
  enum { kUsualFrame = 1518 };
  __u32 frame = first_buffer(ctx);
  if (length + ETH_HLEN > frame || frame > kUsualFrame) frame = bpf_xdp_get_buff_len(ctx);
  return length + ETH_HLEN == frame;
}

/* `l4`: TCP's or UDP's header. Is it sound? */
static __always_inline int read_plain_transport(const __u32* l4, const void* data_end, __u32 payload,
                                                struct plain* p) {
  enum { kPorts, kUdpLengthToChecksum, kTcpOffsetToWindow = 3 };
  if ((void*)(l4 + 2) > data_end) return 0;
  p->ports = l4[kPorts];
  p->tcp_flags = 0;
  if (p->protocol == IPPROTO_UDP)
    return linimo_is_sound_udp(bpf_ntohs(l4[kUdpLengthToChecksum]), payload, LINIMO_WHOLE);
  if (p->protocol != IPPROTO_TCP || (void*)(l4 + 4) > data_end) return 0;
  const __u32 word = l4[kTcpOffsetToWindow];
  p->tcp_flags = word >> 8;
  return linimo_is_sound_tcp((word & 0xf0) >> 2, payload);
}

/* Plain, to what may be a VIP, and from a source that may be. */
static __always_inline int read_plain4(struct xdp_md* ctx, const void* data, const void* data_end,
                                       const struct linimo_xdp_head* head, struct plain* p) {
  enum { kVersionToLength, kIdToFragment, kTtlToChecksum, kSource, kDestination, kWords };
  const __u32* ip = data + ETH_HLEN;
  if ((void*)(ip + kWords) > data_end) return 0;
  p->source = words_of_v4(ip[kSource]);
  p->destination = words_of_v4(ip[kDestination]);
  if (!may_be_vip(head, &p->destination, 1)) return 0;
  const __u32 first = ip[kVersionToLength];
  p->length = bpf_ntohs(first >> 16);
  p->traffic_class = first >> 8;
  p->id_and_fragment = ip[kIdToFragment];
  p->protocol = ip[kTtlToChecksum] >> 8;
  if ((first & 0xff) != 0x45 || !ends_with_frame(ctx, p->length) ||
      linimo_fragment_kind4(p->id_and_fragment >> 16) != LINIMO_WHOLE || linimo_is_martian4(ip[kSource]) ||
      is_in_filter(head, head->source_filter, &p->source, 1))
    return 0;
  const __u64 sum = (__u64)first + ip[kIdToFragment] + ip[kTtlToChecksum] + ip[kSource] + ip[kDestination];
  return linimo_checksum_fold(sum) == 0xffff &&
         read_plain_transport(ip + kWords, data_end, p->length - sizeof(struct iphdr), p);
}

static __always_inline int read_plain6(struct xdp_md* ctx, const void* data, const void* data_end,
                                       const struct linimo_xdp_head* head, struct plain* p) {
  enum { kVersionToLabel, kLengthToHops, kSource, kDestination = 6, kWords = 10 };
  const __u32* ip = data + ETH_HLEN;
  if ((void*)(ip + kWords) > data_end) return 0;
  __builtin_memcpy(&p->source, ip + kSource, sizeof p->source);
  __builtin_memcpy(&p->destination, ip + kDestination, sizeof p->destination);
  if (!may_be_vip(head, &p->destination, 0) || is_v4_words(&p->destination)) return 0;
  const __u32 first = ip[kVersionToLabel], payload = bpf_ntohs(ip[kLengthToHops]);
  p->length = payload + kWords * sizeof *ip;
  p->traffic_class = bpf_ntohl(first) >> 20;
  p->id_and_fragment = 0;
  p->protocol = ip[kLengthToHops] >> 16;
  return (first & 0xf0) == 0x60 && ends_with_frame(ctx, p->length) && p->length <= 0xffff &&
         !linimo_is_martian6(p->source.high, p->source.low) &&
         !is_in_filter(head, head->source_filter, &p->source, 0) &&
         read_plain_transport(ip + kWords, data_end, payload, p);
}

/* The way of a plain packet, from its VIP on. */
static __always_inline int straight_on(struct xdp_md* ctx, struct generation* generation,
                                       const struct plain* p, int v6) {
  const struct linimo_xdp_vip* vip = find_vip(generation, &p->destination, !v6);
  if (!vip) return kWholePath;
  const struct linimo_xdp_service* service =
      find_service(generation, vip, p->protocol, bpf_ntohs(p->ports >> 16));
  if (!service || service->source_count != 0 || service->source_hash || service->server_id_length != 0 ||
      service->members != 0)
    return kWholePath;

  const __u64 hash = hash_addresses(generation->head, &p->source, &p->destination,
                                    linimo_key_end(p->ports, p->protocol), v6);
  const __u32 row = row_of_queue(ctx->rx_queue_index);
  const __u32 slot = slot_of(hash, service);
  if (unsettled_block(generation, service, slot) != 0) return kWholePath;
  const int tracked = linimo_is_tracked(service->tracked, 0);
  const int leaves_a_trace = linimo_leaves_a_trace(p->tcp_flags);
  const __u32 now = tracked ? ticks_now() : 0;
  const __u64 found = tracked ? find_flow_inline(row, hash, service->id) : 0;
  __u64 touched = found;
  const struct linimo_xdp_target* target;
  if (found != 0) {
    if (is_expired(found, service->idle_ticks, now)) return kWholePath;
    target = target_of_id(generation, linimo_flow_backend(found));
    if (!target || target->pool != service->pool) return kWholePath;
    const int begins = linimo_begins_connection(p->tcp_flags);
    const int may_have_ended = linimo_flow_may_have_ended(found, now, LINIMO_TICKS);
    if (linimo_use_of_entry(target->alive, 0, begins, target->alive != LINIMO_XDP_NO_NEW_FLOWS,
                            may_have_ended) != LINIMO_ENTRY_FOLLOWED ||
        linimo_is_repeated_syn(begins, may_have_ended))
      return kWholePath;
    if (leaves_a_trace) touched = linimo_flow_touched(found, p->tcp_flags & LINIMO_FIN, begins, now);
  } else {
    target = target_of_slot(generation, service, slot);
    if (!target) return kWholePath;
  }

  struct way_out way;
  if (way_to(target->backend_id, &way) != LINIMO_OUTCOME_forwarded || way.port != port_number ||
      way.tags != 0 || p->length + target->header_length > way.mtu ||
      (target->outer_v6 && target->encapsulation == LINIMO_ENCAP_GUE))
    return kWholePath;

  const __u32 service_id = service->id, backend_id = target->backend_id;
  if (touched != found) {
    replace_flow(row, hash, service_id, found, touched);
  } else if (tracked && found == 0 && leaves_a_trace) {
    const struct wanted_flow want = {hash, row, service_id, backend_id, service->idle_ticks, now, 0};
    remember_flow(&want);
  }
  if (bpf_xdp_adjust_head(ctx, -(int)target->header_length)) {
    count_outcome(row, LINIMO_OUTCOME_tx_full);
    return XDP_DROP;
  }
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  const struct packet inner = {.ip_length = p->length,
                               .ip_id = p->id_and_fragment,
                               .ip_fragment = p->id_and_fragment >> 16,
                               .v6 = v6,
                               .traffic_class = p->traffic_class};
  way.tags = 0;
  const __u64 mac = port_mac;
  struct linimo_xdp_port port;
  __builtin_memcpy(port.mac, &mac, sizeof port.mac);
  void* outer = write_link(data, data_end, &way, &port, target->outer_v6);
  if (!outer || !(target->outer_v6 ? write_outer_v6(outer, data_end, target, &inner, hash, 0)
                                   : write_outer_v4(outer, data_end, target, &inner, hash)))
    return XDP_DROP;
  count_traffic(row, kCountersServices + service_id, p->length);
  count_traffic(row, kCountersBackends + backend_id, p->length);
  count_outcome(row, LINIMO_OUTCOME_forwarded);
  return XDP_TX;
}

static __always_inline int straight(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct generation generation;
  struct plain plain;
  if (data + ETH_HLEN > data_end || !linimo_is_addressed_to(*(const __u64*)data, port_mac) ||
      !live_generation(&generation))
    return kWholePath;
  const __be16 type = *(const __be16*)(data + __builtin_offsetof(struct ethhdr, h_proto));
  if (type == bpf_htons(ETH_P_IP))
    return read_plain4(ctx, data, data_end, generation.head, &plain)
               ? straight_on(ctx, &generation, &plain, 0)
               : (int)kWholePath;
  if (type == bpf_htons(ETH_P_IPV6))
    return read_plain6(ctx, data, data_end, generation.head, &plain)
               ? straight_on(ctx, &generation, &plain, 1)
               : (int)kWholePath;
  return kWholePath;
}

#endif
