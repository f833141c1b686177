// Compiled once for each back end, as LINIMO_LANES: its namespace. Nothing here may become a symbol that code
// for other CPUs could be linked with (tests/unit/lane_symbols.py): all functions are of this file alone or
// inlined, and what headers define is called only where that is sure to be inlined.

#include "dataplane/forward/lane_path.h"

#include <cstddef>

#include "dataplane/forward/lane_recognize.h"
#include "maglev/rules/adaptive.h"
#include "maglev/rules/tunnel.h"

namespace linimo::LINIMO_LANES {
namespace {

/// Where the flow's entry would be: linimo_flow_places_of.
LINIMO_LANE void find_bucket(const ConnectionTable& connections, Lanes hash, LaneGroup& group) {
  const Lanes buckets = all(connections.buckets());
  const Lanes scaled = multiply_halves(shr<32>(hash), buckets) + shr<32>(multiply_halves(hash, buckets));
  store(group.bucket, all(number(connections.words())) + shl<6>(shr<32>(scaled)));
  constexpr uint64_t kFingerprint = 0xffff'ffff & ~uint64_t{LINIMO_FLOW_SERVICE_MASK};
  store(group.wanted, (scaled & all(kFingerprint)) | load(group.service_id));
}

/// The service says who decides, and the flow's hash where to look.
LINIMO_LANE void look_up(const LaneContext& context, const Recognized& packet, LaneGroup& group) {
  static_assert(sizeof(ServiceView) == 64 && offsetof(ServiceView, slots) == 0 &&
                offsetof(ServiceView, unsettled) == 16 && offsetof(ServiceView, table_size) == 32 &&
                offsetof(ServiceView, tracking_key) == 40 && offsetof(ServiceView, decider) == 57 &&
                offsetof(ServiceView, source_hash) == 58);
  const Lanes number_of = select(packet.plain, packet.service, all(0));
  const Lanes service = all(number(context.tables->services)) + shl<6>(number_of);
  store(group.service, service);
  const auto leader = static_cast<uint32_t>(std::countr_zero(group.plain));
  const uint64_t one = group.service[leader];
  group.one_service = (bits(equal(service, all(one))) & group.plain) == group.plain;
  Lanes slots, unsettled, size, id, flags;
  if (group.one_service) [[likely]] {
    const auto word = [&](int i) __attribute__((always_inline)) {
      return all(at<const uint64_t>(one)[i]);
    };
    slots = word(0), unsettled = word(2), size = word(4), id = word(5), flags = word(7);
  } else {
    const Columns low = columns(group.service, 0), high = columns(group.service, 32);
    slots = low.q0, unsettled = low.q2, size = high.q0, id = high.q1, flags = high.q3;
  }
  const Lanes decider = shr<8>(flags) & all(0xff);
  const Mask by_table = equal(decider, all(static_cast<uint64_t>(Decider::kTable)));
  const Mask by_entry = equal(decider, all(static_cast<uint64_t>(Decider::kEntry)));
  group.plain = bits(packet.plain & (by_table | by_entry) & none_of(flags, all(0xff'0000)));
  group.by_table = bits(by_table) & group.plain;
  group.by_entry = bits(by_entry) & group.plain;
  group.unsettled = 0;
  const Lanes slot = shr<32>(multiply_halves(packet.hash, size));  // linimo_slot_of
  store(group.slot, slot);
  store(group.slot_at, slots + slot + slot);
  store(group.service_id, low_half(id));
  store(group.ip_length, packet.ip_length);
  store(group.tcp_flags, packet.tcp_flags);
  store(group.hash, packet.hash);
  store(group.head, packet.head);
  each(
      bits(any_of(unsettled, all(~uint64_t{0}))) & group.plain, [&](uint32_t i) __attribute__((
                                                                    always_inline)) {
        if (!at<const ServiceView>(group.service[i])->is_settled(static_cast<uint32_t>(group.slot[i])))
          group.unsettled |= 1U << i;
      });
  group.by_table &= ~group.unsettled;
  group.by_entry |= group.unsettled;
  if (group.by_entry != 0) find_bucket(*context.connections, packet.hash, group);
}

/// What the next stage reads.
LINIMO_LANE void ask_for_next(const LaneGroup& group) {
  const auto slot = [&](uint32_t i) __attribute__((always_inline)) {
    __builtin_prefetch(at<const void>(group.slot_at[i]));
  };
  const auto bucket = [&](uint32_t i) __attribute__((always_inline)) {
    __builtin_prefetch(at<const void>(group.bucket[i]));
  };
  // Where the outer header will be. Not asked for before: the frames themselves are waited for.
  const auto headroom = [&](uint32_t i) __attribute__((always_inline)) {
    __builtin_prefetch(at<const uint8_t>(group.frame[i]) - RTE_CACHE_LINE_SIZE, 1);
  };
  const uint32_t slots = group.by_table | group.unsettled;
  if (slots == kAllLanes) {
    for (uint32_t i = 0; i < kLanes; ++i) slot(i);
  } else {
    each(slots, slot);
  }
  if (group.by_entry == kAllLanes) {
    for (uint32_t i = 0; i < kLanes; ++i) bucket(i);
  } else {
    each(group.by_entry, bucket);
  }
  if (group.plain == kAllLanes) {
    for (uint32_t i = 0; i < kLanes; ++i) headroom(i);
  } else {
    each(group.plain, headroom);
  }
}

void admit(const LaneContext& context, LaneGroup& group) {
  static_assert(offsetof(rte_mbuf, rearm_data) == 16 && offsetof(rte_mbuf, ol_flags) == 24 &&
                offsetof(rte_mbuf, data_len) == 40 && offsetof(rte_mbuf, data_off) == 16 &&
                offsetof(rte_mbuf, nb_segs) == 20);
  const Columns mbuf = columns(group.mbuf, offsetof(rte_mbuf, rearm_data));
  const Lanes length = mbuf.q3 & all(0xffff);
  const Lanes frame = load(group.frame);
  const Columns link = columns(group.readable, 0);
  const Columns ip = columns(group.readable, kLeast4 - 32);  // of IPv6: the addresses
  static_assert(kLeast4 - 32 == kEthernet + offsetof(packet::Ipv6, source) &&
                kLeast4 - 32 == kEthernet + offsetof(packet::Ipv4, ttl));

  const Lanes nic = mbuf.q1 & all(RTE_MBUF_F_RX_IP_CKSUM_MASK);
  const Mask ours = equal(shl<16>(link.q0 ^ all(context.in_mac)), all(0)) &
                    equal(mbuf.q0 & all(uint64_t{0xffff} << 32), all(uint64_t{1} << 32)) &
                    ~equal(nic, all(RTE_MBUF_F_RX_IP_CKSUM_BAD));
  const Lanes kind = shr<32>(link.q1);  // the Ethernet type and the first two bytes of IP
  const Mask v4 = ours & equal(kind & all(0xff'ffff), all(packet::kTypeIpv4 | 0x45U << 16));
  const Mask v6 = ours & equal(kind & all(0xf0'ffff), all(packet::kTypeIpv6 | 0x60U << 16));
  group.v6 = bits(v6);
  const uint32_t fours = bits(v4);
  group.plain = 0;
  if ((fours | group.v6) == 0) return;
  Recognized packet;
  if (group.v6 == 0) [[likely]] {
    packet = recognize4(*context.tables, v4, length, mbuf.q1, link, ip);
  } else if (fours == 0) {
    packet = recognize6(*context.tables, v6, length, frame, link, ip);
  } else {
    packet = of_both(v6, recognize6(*context.tables, v6, length, frame, link, ip),
                     recognize4(*context.tables, v4, length, mbuf.q1, link, ip));
  }
  group.plain = bits(packet.plain);
  if (group.plain == 0) return;
  store(group.data_off, mbuf.q0 & all(0xffff));
  store(group.ol_flags, mbuf.q1);
  look_up(context, packet, group);
  ask_for_next(group);
}

LINIMO_LANE void choose_by_table(LaneGroup& group) {
  const auto choose = [&](uint32_t i) __attribute__((always_inline)) {
    const linimo_slot slot = *at<const linimo_slot>(group.slot_at[i]);
    const auto& service = *at<const ServiceView>(group.service[i]);
    if (slot == LINIMO_NO_BACKEND) [[unlikely]]
      return;
    group.target[i] = number(service.targets + slot);
    group.chosen |= 1U << i;
  };
  if (group.by_table == kAllLanes) [[likely]] {
    for (uint32_t i = 0; i < kLanes; ++i) choose(i);
  } else {
    each(group.by_table, choose);
  }
}

/// Whoever follows an entry, for one that is found in the first bucket, lives and is not about to change in
/// more than its stamp: Pipeline::follow_entry; for stale ones what ConnectionTable::find and touch do.
LINIMO_LANE void choose_by_entry(const LaneContext& context, LaneGroup& group) {
  const auto look = [&](uint32_t i) __attribute__((always_inline)) {
    auto* const words = at<uint64_t>(group.bucket[i]);
    const uint32_t hits = upper_halves(words, static_cast<uint32_t>(group.wanted[i]));
    const uint32_t place = hits == 0 ? 0 : static_cast<uint32_t>(std::countr_zero(hits)) / 2;
    group.entry[i] = number(words + place);
    group.word[i] = hits == 0 ? 0 : words[place];
    group.missed |= uint32_t{hits == 0} << i;
  };
  group.missed = 0;
  if (group.by_entry == kAllLanes) [[likely]] {
    for (uint32_t i = 0; i < kLanes; ++i) look(i);
  } else {
    each(group.by_entry, look);
  }
  const LaneTables& tables = *context.tables;
  const Lanes word = load(group.word);
  const Lanes state = word & all(LINIMO_FLOW_STATE_MASK);
  const Lanes age = (all(context.now_s) - shr<LINIMO_FLOW_STAMP_SHIFT>(word)) & all(LINIMO_FLOW_STAMP_MASK);
  const Lanes id = shr<LINIMO_FLOW_BACKEND_SHIFT>(word) & all(LINIMO_FLOW_BACKEND_MASK);
  const Mask in_range = at_most(id + all(1), all(tables.known_count));
  const Lanes known = gather(all(number(tables.known)) + shl<3>(select(in_range, id, all(0))));
  Lanes pool, timeout;
  if (group.one_service) [[likely]] {
    const uint64_t* const service = at<const uint64_t>(group.service[std::countr_zero(group.plain)]);
    pool = all(service[4] >> 32), timeout = all(service[5] >> 32);
  } else {
    const Columns service = columns(group.service, 32);
    pool = shr<32>(service.q0), timeout = shr<32>(service.q1);
  }
  constexpr uint64_t kTelling = packet::kTcpSyn | packet::kTcpFin | packet::kTcpRst;
  const Mask follows = in_range & equal(shr<32>(known), pool) & any_of(state, all(LINIMO_FLOW_STATE_MASK)) &
                       none_of(load(group.tcp_flags), all(kTelling));
  const Mask fresh = equal(age, all(0));
  const Mask live = at_most(age, timeout) & ~equal(state, all(LINIMO_FLOW_CLOSING));
  const Lanes target = all(number(tables.targets)) + shl<6>(low_half(known));
  uint32_t now = bits(follows & fresh) & group.by_entry;
  uint32_t stale = bits(follows & ~fresh & live) & group.by_entry;
  store(group.target, select(mask_of(now | stale), target, load(group.target)));
  each((now | stale) & group.unsettled, [&](uint32_t i) __attribute__((always_inline)) {
    const linimo_slot slot = *at<const linimo_slot>(group.slot_at[i]);
    const auto* service = at<const ServiceView>(group.service[i]);
    const bool deviates = linimo_deviates(group.target[i], number(service->targets + slot));
    if (!service->shares_flows && !deviates) return;
    // That is to be noted, or others may have to be told.
    if (!service->shares_flows) group.deviating |= 1U << i;
    now &= ~(1U << i);
    stale &= ~(1U << i);
  });
  group.chosen |= now;
  group.stale = stale;
}

void choose(const LaneContext& context, LaneGroup& group) {
  group.chosen = group.stale = group.missed = group.deviating = 0;
  store(group.target, all(number(kNothing)));
  if (group.by_table != 0) choose_by_table(group);
  if (group.by_entry != 0) choose_by_entry(context, group);
}

/// The outer header's words and the link's, as they are stored; one back end's registers hold no more.
struct Written {
  Field link_0, link_8, ip_2, checksum, ends, frame, lengths, data_off, ol_flags, backend;
};

LINIMO_LANE void count_traffic(const LaneContext& context, uint32_t lanes, const LaneGroup& group,
                               const Written& written) {
  if (group.one_service) [[likely]] {
    TrafficCount& service = context.counters->services[group.service_id[std::countr_zero(lanes)]];
    uint64_t bytes = 0;
    each(
        lanes, [&](uint32_t i) __attribute__((always_inline)) { bytes += group.ip_length[i]; });
    service.packets += static_cast<uint64_t>(std::popcount(lanes));
    service.bytes += bytes;
  } else {
    each(
        lanes, [&](uint32_t i) __attribute__((always_inline)) {
          TrafficCount& service = context.counters->services[group.service_id[i]];
          service.packets += 1;
          service.bytes += group.ip_length[i];
        });
  }
  each(
      lanes, [&](uint32_t i) __attribute__((always_inline)) {
        TrafficCount& backend = context.counters->backends[written.backend[i]];
        backend.packets += 1;
        backend.bytes += group.ip_length[i];
      });
}

LINIMO_LANE void write(uint32_t i, uint32_t outer6, const LaneGroup& group, const Written& written) {
  auto* const frame = at<uint8_t>(written.frame[i]);
  std::memcpy(frame, &written.link_0[i], 8);
  std::memcpy(frame + 8, &written.link_8[i], 8);
  std::memcpy(frame + 16, &written.ip_2[i], 8);
  if ((outer6 >> i & 1) == 0) [[likely]] {
    std::memcpy(frame + 24, &written.checksum[i], 2);
    std::memcpy(frame + 26, &written.ends[i], 8);
  } else {
    std::memcpy(frame + 22, at<const Target>(group.target[i])->tunnel.addresses, 32);
  }
  auto* const mbuf = at<rte_mbuf>(group.mbuf[i]);
  mbuf->data_off = static_cast<uint16_t>(written.data_off[i]);
  mbuf->ol_flags = written.ol_flags[i];
  mbuf->pkt_len = static_cast<uint32_t>(written.lengths[i]);
  mbuf->data_len = static_cast<uint16_t>(written.lengths[i]);
}

/// Into the tunnel: Pipeline::send, linimo_outer4_of, linimo_outer6_of.
uint32_t send(const LaneContext& context, LaneGroup& group) {
  static_assert(offsetof(Target, plain_mtu) == 8 && offsetof(Target, backend_id) == 12 &&
                offsetof(Target, tunnel) == 16 && offsetof(packet::Tunnel, checksum_base) == 0 &&
                offsetof(packet::Tunnel, header_length) == 4 && offsetof(packet::Tunnel, outer_v6) == 5 &&
                offsetof(packet::Tunnel, addresses) == 8);
  const Columns target = columns(group.target, 0);
  const Lanes way = target.q0, tunnel = target.q2;
  const Lanes ip_length = load(group.ip_length), head = load(group.head);
  const Lanes overhead = shr<32>(tunnel) & all(0xff);
  const Lanes total = ip_length + overhead;
  const Mask outer6 = any_of(tunnel, all(uint64_t{1} << 40));
  const uint32_t lanes = group.chosen & bits(at_most(total, low_half(target.q1)));
  if (lanes == 0) return 0;

  Written written;
  const Lanes port = shr<LINIMO_NEXT_HOP_PORT_SHIFT>(way) & all(0xff);
  store(group.port, port);
  const uint64_t first_port = first(port);
  group.one_port = bits(equal(port, all(first_port))) == kAllLanes;
  const Lanes source = group.one_port ? all(context.macs->load(static_cast<uint32_t>(first_port)))
                                      : gather(all(number(context.macs)) + shl<3>(port & all(kMaxPorts - 1)));
  store(written.link_0, (way & all(0xffff'ffff'ffff)) | shl<48>(source));
  const Lanes link_8 = shr<16>(source) & all(0xffff'ffff);

  const Lanes ip_0 = all(0x45ULL << 48) | (head & all(0xffULL << 56));  // version to class, in their place
  const Lanes ip_2 = (head & all(0xffff'ffff'0000)) | wire16<0>(total) |
                     all(uint64_t{LINIMO_TUNNEL_TTL} << 48) | shl<56>(head);
  const Lanes sum = shr<48>(ip_0) + halves(ip_2) + (tunnel & all(0xffff));
  store(written.checksum, fold(fold(fold(sum))) ^ all(0xffff));
  store(written.ends, target.q3);
  const uint32_t sixes = bits(outer6);
  if (sixes == 0) [[likely]] {
    store(written.link_8, link_8 | all(uint64_t{packet::kTypeIpv4} << 32) | ip_0);
    store(written.ip_2, ip_2);
  } else {
    const Lanes label = all(6U << 28) | shl<20>(shr<56>(head)) | (load(group.hash) & all(0xfffff));
    const Lanes first_word = bytes_of(label, 0x8080'8080'0001'0203);
    const Lanes six_8 = link_8 | all(uint64_t{packet::kTypeIpv6} << 32) | shl<48>(first_word);
    const Lanes six_2 = shr<16>(first_word) | shl<16>(wire16<0>(ip_length)) | shl<32>(head & all(0xff)) |
                        all(uint64_t{LINIMO_TUNNEL_TTL} << 40);
    store(written.link_8, select(outer6, six_8, link_8 | all(uint64_t{packet::kTypeIpv4} << 32) | ip_0));
    store(written.ip_2, select(outer6, six_2, ip_2));
  }
  store(written.frame, load(group.frame) - overhead);
  store(written.lengths, total + all(kEthernet));
  store(written.data_off, load(group.data_off) - overhead);
  store(written.ol_flags, load(group.ol_flags) & all(RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT));
  store(written.backend, shr<32>(target.q1));
  if (lanes == kAllLanes) [[likely]] {
    for (uint32_t i = 0; i < kLanes; ++i) write(i, sixes, group, written);
    count_traffic(context, kAllLanes, group, written);
  } else {
    each(
        lanes, [&](uint32_t i) __attribute__((always_inline)) { write(i, sixes, group, written); });
    count_traffic(context, lanes, group, written);
  }
  return lanes;
}

}  // namespace

extern const LanePath kPath;
const LanePath kPath = {LINIMO_LANES_NAME, admit, choose, send};

}  // namespace linimo::LINIMO_LANES
