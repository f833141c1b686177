// A burst in lanes: who goes through which stage, and how, in the order of the burst. What the stages decide
// is in lane_path.cc, and what is not plain goes through those of pipeline.cc.

#include <algorithm>
#include <bit>
#include <utility>

#include <rte_mbuf.h>

#include "dataplane/forward/pipeline.h"

namespace linimo {
namespace {

constexpr uint32_t kLanes = LaneGroup::kLanes, kAllLanes = (1U << kLanes) - 1;

template <typename Visit>
void each(uint32_t lanes, Visit visit) {
  for (; lanes != 0; lanes &= lanes - 1) visit(static_cast<uint32_t>(std::countr_zero(lanes)));
}

const Target* target_in(const LaneGroup& group, uint32_t lane) {
  return reinterpret_cast<const Target*>(group.target[lane]);
}

}  // namespace

// Stage by stage over all groups, as the usual path: each asks the memory for what the next one reads.
void Pipeline::run_in_lanes(std::span<rte_mbuf* const> burst, const Generation& generation, uint32_t now_s,
                            BurstOutput& out) {
  const LaneContext context{
      &generation.lane_tables(), &connections_, &port_macs_, &counters_, in_mac_, now_s};
  const auto size = static_cast<uint32_t>(burst.size());
  const auto nothing = reinterpret_cast<uint64_t>(LanePath::nothing());
  const uint32_t groups = (size + kLanes - 1) / kLanes;
  const bool long_headers = std::exchange(long_headers_, false);
  bool v6 = false;
  // Two groups ahead: a core waits for a few lines at a time only, and the headroom's are wanted as well.
  const auto ask_for_frames = [&](uint32_t n) {
    for (uint32_t i = n * kLanes; i < std::min(size, (n + 1) * kLanes); ++i) {
      rte_prefetch0(rte_pktmbuf_mtod(burst[i], void*));
      if (long_headers) rte_prefetch0(rte_pktmbuf_mtod_offset(burst[i], void*, RTE_CACHE_LINE_SIZE));
    }
  };
  ask_for_frames(0);
  ask_for_frames(1);
  for (uint32_t n = 0; n < groups; ++n) {
    LaneGroup& group = groups_[n];
    const uint32_t first = n * kLanes, count = std::min(size - first, kLanes);
    for (uint32_t i = 0; i < count; ++i) {
      group.mbuf[i] = reinterpret_cast<uint64_t>(burst[first + i]);
      group.frame[i] = rte_pktmbuf_mtod(burst[first + i], uint64_t);
      const bool readable = rte_pktmbuf_data_len(burst[first + i]) >= LanePath::kLeastFrame;
      group.readable[i] = readable ? group.frame[i] : nothing;
    }
    ask_for_frames(n + 2);
    for (uint32_t i = count; i < kLanes; ++i) {
      group.mbuf[i] = reinterpret_cast<uint64_t>(LanePath::blank_mbuf());
      group.frame[i] = group.readable[i] = nothing;
    }
    group.present = (1U << count) - 1;
    group.plain = group.v6 = 0;
    if (count >= fewest_in_lanes_ || count == kLanes) lanes_->admit(context, group);
    v6 |= group.v6 != 0;
    alone_[n] = 0;
    if (group.plain == kAllLanes) [[likely]]
      continue;
    each(group.present & ~group.plain, [&](uint32_t i) {
      if (admit_one(burst[first + i], generation, packets_[first + i], out)) alone_[n] |= 1U << i;
    });
  }
  long_headers_ |= v6;

  bool all_chosen = true;
  for (uint32_t n = 0; n < groups; ++n) {
    LaneGroup& group = groups_[n];
    if (group.plain != 0) {
      lanes_->choose(context, group);
      if (group.chosen != kAllLanes) {
        each(group.missed & group.plain, [&](uint32_t i) { connections_.prefetch_second(group.hash[i]); });
        each(group.plain & ~(group.chosen | group.stale | group.deviating),
             [&](uint32_t i) { rte_prefetch0(reinterpret_cast<const void*>(group.slot_at[i])); });
      }
      all_chosen &= group.chosen == group.plain;
    }
    each(alone_[n],
         [&](uint32_t i) { all_chosen &= choose_one(generation, now_s, packets_[n * kLanes + i]); });
  }

  if (!all_chosen) {
    for (uint32_t n = 0; n < groups; ++n) {
      LaneGroup& group = groups_[n];
      if (group.plain == 0 && alone_[n] == 0) continue;
      const uint32_t lanes = group.plain == 0 ? 0 : group.plain & ~group.chosen;
      each(lanes | alone_[n], [&](uint32_t i) {
        if ((lanes >> i & 1) != 0) {
          group.chosen |= follow_lane(generation, now_s, group, i, out);
          return;
        }
        Packet& packet = packets_[n * kLanes + i];
        if (packet.decider == Decider::kConnections && !recall(generation, now_s, packet, out))
          alone_[n] &= ~(1U << i);
      });
    }
  }
  for (uint32_t n = 0; n < groups; ++n) send_group(context, generation, n, out);
}

// The flow's entry in its second bucket, if that is all there is to say.
inline const Target* Pipeline::follow_second(const Generation& generation, uint32_t now_s,
                                             const LaneGroup& group, uint32_t lane) {
  const auto& service = *reinterpret_cast<const ServiceView*>(group.service[lane]);
  constexpr uint64_t kTelling = packet::kTcpSyn | packet::kTcpFin | packet::kTcpRst;
  if ((group.missed >> lane & 1) == 0 || (group.tcp_flags[lane] & kTelling) != 0) return nullptr;
  ConnectionTable::Entry second = connections_.find_second(group.hash[lane], service.tracking_key, now_s);
  const Target* known =
      second == nullptr ? nullptr : generation.target_of(ConnectionTable::backend_id(second));
  if (known == nullptr || known->pool != service.pool || !known->alive) return nullptr;
  connections_.touch(second, false, false, now_s);
  return known;
}

// The same of a slot that is not settled, where deviations are noted. Kept out of the way of the others.
__attribute__((noinline)) const Target* Pipeline::follow_unsettled(const Generation& generation,
                                                                   uint32_t now_s, const LaneGroup& group,
                                                                   uint32_t lane) {
  const auto& service = *reinterpret_cast<const ServiceView*>(group.service[lane]);
  if (service.shares_flows) return nullptr;  // others may have to be told
  const auto slot = static_cast<uint32_t>(group.slot[lane]);
  auto* const entry = reinterpret_cast<ConnectionTable::Entry>(group.entry[lane]);
  if ((group.deviating >> lane & 1) != 0 && *entry == group.word[lane]) {
    connections_.touch(entry, false, false, now_s);
    service.unsettled->deviated(own_, slot, now_s);
    return target_in(group, lane);
  }
  const Target* known = follow_second(generation, now_s, group, lane);
  if (known != nullptr) note_deviation(service, slot, known, now_s);
  return known;
}

// The lane, if it is known by now where its packet goes. In the order of the burst: what an earlier packet
// changed in the table is seen. The same as `recall` does, in short for those whose entry says it.
inline uint32_t Pipeline::follow_lane(const Generation& generation, uint32_t now_s, LaneGroup& group,
                                      uint32_t lane, BurstOutput& out) {
  const uint32_t bit = 1U << lane;
  auto* const entry = reinterpret_cast<ConnectionTable::Entry>(group.entry[lane]);
  if ((group.stale & bit) != 0 && *entry == group.word[lane]) {
    connections_.touch(entry, false, false, now_s);
    return bit;
  }
  const Target* known = (group.unsettled & bit) != 0 ? follow_unsettled(generation, now_s, group, lane)
                                                     : follow_second(generation, now_s, group, lane);
  if (known != nullptr) {
    group.target[lane] = reinterpret_cast<uint64_t>(known);
    return bit;
  }
  Packet packet;
  leave_lane(group, lane, packet);
  if (!recall(generation, now_s, packet, out)) return 0;
  group.target[lane] = reinterpret_cast<uint64_t>(packet.target);
  return bit;
}

// In the order of the burst, whichever way they went.
inline void Pipeline::send_group(const LaneContext& context, const Generation& generation, uint32_t n,
                                 BurstOutput& out) {
  LaneGroup& group = groups_[n];
  uint32_t chosen = 0, sent = 0;
  if (group.plain != 0) {
    chosen = group.chosen;
    sent = lanes_->send(context, group);
    went_in_lanes_ += static_cast<uint64_t>(std::popcount(sent));
    if (sent == kAllLanes && group.one_port) [[likely]]
      return out.transmit[group.port[0]].push_group(group);
  }
  each(chosen | alone_[n], [&](uint32_t i) {
    if ((sent >> i & 1) != 0) {
      out.transmit[group.port[i]].push(reinterpret_cast<rte_mbuf*>(group.mbuf[i]));
      return;
    }
    Packet& packet = packets_[n * kLanes + i];
    if ((chosen >> i & 1) != 0) leave_lane(group, i, packet);
    send_one(generation, packet, out);
  });
}

// The packet as the usual path's stages know it, once its service and its flow's hash are known.
void Pipeline::leave_lane(const LaneGroup& group, uint32_t lane, Packet& packet) {
  packet.mbuf = reinterpret_cast<rte_mbuf*>(group.mbuf[lane]);
  packet.ip = reinterpret_cast<const uint8_t*>(group.frame[lane]) + sizeof(packet::Ethernet);
  packet.service = reinterpret_cast<const ServiceView*>(group.service[lane]);
  packet.target = target_in(group, lane);
  packet.hash = group.hash[lane];
  packet.slot = static_cast<uint32_t>(group.slot[lane]);
  packet.ip_length = static_cast<uint16_t>(group.ip_length[lane]);
  packet.tcp_flags = static_cast<uint8_t>(group.tcp_flags[lane]);
  packet.v6 = (group.v6 >> lane & 1) != 0;
  packet.decider = Decider::kConnections;
  packet.sent_as = LINIMO_OUTCOME_forwarded;
  packet.judged = false;
}

}  // namespace linimo
