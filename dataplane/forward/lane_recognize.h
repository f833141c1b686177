// Eight packets recognized at once: whether they are plain, to which service, and the flow's hash. The twin
// of packet/plain.h, Generation::service_of_plain and maglev/hash.h; a part of lane_path.cc.
#pragma once

#include <bit>

#include <rte_mbuf.h>

#include "dataplane/forward/lane_path.h"
#include "dataplane/forward/lanes.h"
#include "dataplane/packet/headers.h"

namespace linimo::LINIMO_LANES {
namespace {

using Field = LaneGroup::Field;
constexpr uint32_t kLanes = LaneGroup::kLanes, kAllLanes = (1U << kLanes) - 1;

constexpr uint64_t kEthernet = sizeof(packet::Ethernet);
constexpr uint64_t kLeast4 = kEthernet + sizeof(packet::Ipv4) + sizeof(packet::Tcp);
static_assert(kLeast4 == LanePath::kLeastFrame);
constexpr uint64_t kLeast6 = kEthernet + sizeof(packet::Ipv6) + sizeof(packet::Udp);
constexpr uint64_t kLeastTcp6 = kEthernet + sizeof(packet::Ipv6) + sizeof(packet::Tcp);

/// What lanes read that have no frame, or one that is too short to be plain; and no target.
alignas(64) constexpr uint8_t kNothing[128] = {};

LINIMO_LANE uint64_t number(const void* at) {
  return reinterpret_cast<uint64_t>(at);
}
template <typename Type>
LINIMO_LANE Type* at(uint64_t address) {
  return reinterpret_cast<Type*>(address);
}
template <typename Visit>
LINIMO_LANE void each(uint32_t lanes, Visit visit) {
  for (; lanes != 0; lanes &= lanes - 1) visit(static_cast<uint32_t>(std::countr_zero(lanes)));
}

/// 16 bits on the wire, from byte `kByte` of a lane on.
template <uint32_t kByte>
LINIMO_LANE Lanes wire16(Lanes a) {
  return bytes_of(a, 0x8080'8080'8080'0000 | kByte << 8 | (kByte + 1));
}
/// Once more brings a sum of a few words below 2^16 + 16, and then once more below 2^16.
LINIMO_LANE Lanes fold(Lanes sum) {
  return (sum & all(0xffff)) + shr<16>(sum);
}
LINIMO_LANE Lanes halves(Lanes a) {
  return low_half(a) + shr<32>(a);
}

/// The halves of the product, folded: XXH3's, as the next two (maglev/hash.h; bpf/hash.h names the steps).
LINIMO_LANE Lanes multiply_fold(Lanes a, Lanes b) {
  const Lanes a_high = shr<32>(a), b_high = shr<32>(b);
  const Lanes low = multiply_halves(a, b), high = multiply_halves(a_high, b_high);
  const Lanes middle = multiply_halves(a_high, b) + shr<32>(low);
  const Lanes cross = multiply_halves(a, b_high) + low_half(middle);
  return (high + shr<32>(middle) + shr<32>(cross)) ^ (low_half(low) | shl<32>(cross));
}
LINIMO_LANE Lanes avalanche(Lanes hash) {
  const Lanes mixed = multiply(hash ^ shr<37>(hash), all(0x165667919e3779f9));
  return mixed ^ shr<32>(mixed);
}
LINIMO_LANE Lanes flow_hash4(Lanes addresses, Lanes end, const FlowHashWords& words) {
  const Lanes low = addresses ^ all(words.key4[0]), high = end ^ all(words.key4[1]);
  return avalanche(all(16) + bytes_of(low, 0x0001'0203'0405'0607) + high + multiply_fold(low, high));
}
LINIMO_LANE Lanes flow_hash6(const Columns& addresses, Lanes end, const FlowHashWords& words) {
  const auto mix = [&](Lanes a, Lanes b, int word) __attribute__((always_inline)) {
    return multiply_fold(a ^ all(words.key6[word]), b ^ all(words.key6[word + 1]));
  };
  const Lanes sum =
      all(40 * 0x9e3779b185ebca87) + mix(addresses.q2, addresses.q3, 4) + mix(addresses.q1, addresses.q2, 6);
  return avalanche(sum + mix(addresses.q0, addresses.q1, 0) + mix(addresses.q3, end, 2));
}

/// What the families have in common, once a packet is recognized.
struct Recognized {
  Mask plain;
  Lanes ip_length, protocol, ports, tcp_flags, head, hash, service;
};

/// TCP or UDP whose header says nothing that is wrong: packet::read_plain. `tcp`: its bytes 12 and 13, `udp`:
/// its length in the first bytes of a lane.
LINIMO_LANE Mask is_sound(Lanes protocol, Lanes l4_length, Lanes tcp, Lanes udp, Mask& is_tcp) {
  is_tcp = equal(protocol, all(LINIMO_TCP));
  const Lanes said = select(is_tcp, shr<2>(tcp) & all(0x3c), wire16<0>(udp));
  const Lanes least = select(is_tcp, all(sizeof(packet::Tcp)), all(sizeof(packet::Udp)));
  return (is_tcp | equal(protocol, all(LINIMO_UDP))) & at_most(least, said) & at_most(said, l4_length);
}

/// The service's number, or what is no number: ServiceTable. `place`: where to begin.
template <typename Key>
LINIMO_LANE uint32_t probe(const ServiceTable::View<Key>& services, uint64_t place, const Key& key) {
  for (;; place = (place + 1) & services.mask) {
    const auto& found = services.places[place];
    if (found.key == key || found.service == ServiceTable::kNone) return found.service;
  }
}

/// Of each lane's place, as SuspectSources has them.
LINIMO_LANE Mask is_set(const uint64_t* bits, Lanes place) {
  const Lanes word = gather(all(number(bits)) + (shr<3>(place) & all(~uint64_t{7})));
  return any_of(shr_each(word, place & all(63)), all(1));
}
LINIMO_LANE Lanes mixed_place(Lanes high, Lanes low) {  // linimo_mix_address
  const Lanes mixed = multiply(low, all(LINIMO_GOLDEN_RATIO)) + multiply(high, all(0xc2b2ae3d27d4eb4f));
  return shr<64 - SuspectSources::kBits>(mixed);
}

LINIMO_LANE Recognized recognize4(const LaneTables& tables, Mask plain, Lanes length, Lanes ol_flags,
                                  const Columns& link, const Columns& ip) {
  const Lanes header = link.q2;  // length to protocol
  const Lanes addresses = shr<32>(ip.q0) | shl<32>(ip.q1);
  const Lanes ports = shr<32>(ip.q1);
  Recognized packet;
  packet.ip_length = wire16<0>(header);
  packet.protocol = shr<56>(header);
  packet.ports = ports;
  Mask is_tcp;
  plain =
      plain & is_sound(packet.protocol, packet.ip_length - all(sizeof(packet::Ipv4)), ip.q3, ip.q2, is_tcp);
  plain = plain & at_most(packet.ip_length + all(kEthernet), length);
  plain = plain & none_of(header, all(uint64_t{packet::kMoreFragmentsOrOffset} << 32));
  const Lanes sum = halves(header) + halves(addresses) + shr<48>(link.q1) + (shr<16>(ip.q0) & all(0xffff));
  const Lanes nic = ol_flags & all(RTE_MBUF_F_RX_IP_CKSUM_MASK);
  plain = plain & (equal(nic, all(RTE_MBUF_F_RX_IP_CKSUM_GOOD)) | equal(fold(fold(sum)), all(0xffff)));
  packet.tcp_flags = select(is_tcp, shr<8>(ip.q3) & all(0xff), all(0));
  // Of the inner header: DF, or the identification; in the outer one's places. linimo_outer4_of.
  constexpr uint64_t kDontFragment = uint64_t{packet::kDontFragment} << 32;
  const Mask whole = any_of(header, all(kDontFragment));
  packet.head = select(whole, all(kDontFragment), header & all(0xffff'0000)) |
                (link.q1 & all(uint64_t{0xff} << 56)) | all(LINIMO_IPIP);

  const Mask near = is_set(tables.suspects->near4(), addresses & all(0xffff));
  if (bits(plain & near) != 0) {
    const Lanes low = shl<32>(addresses) | all(0xffff'0000);  // LINIMO_V4_LOW
    plain = plain & ~(near & (is_set(tables.suspects->all4(), addresses & all(0xffff)) |
                              is_set(tables.suspects->ones(), mixed_place(all(0), low))));
  }

  const Lanes key = shr<32>(addresses) | shl<32>(shr<16>(ports)) | shl<48>(packet.protocol);
  const Lanes first = shr_all(multiply(key, all(ServiceTable::kSpread)), tables.services_of4.shift);
  const Lanes place = all(number(tables.services_of4.places)) + shl<4>(first);
  Lanes service = low_half(gather(place + all(8)));
  const Mask found = equal(gather(place), key);
  if (const uint32_t others = bits(plain & ~found)) [[unlikely]] {
    Field keys, firsts, services;
    store(keys, key);
    store(firsts, first);
    store(services, service);
    each(
        others, [&](uint32_t i) __attribute__((always_inline)) {
          ServiceTable::Key4 wanted;
          wanted.word = keys[i];
          services[i] = probe(tables.services_of4, firsts[i], wanted);
        });
    service = load(services);
  }
  packet.service = service;
  packet.plain = plain & ~equal(service, all(ServiceTable::kNone));
  packet.hash = flow_hash4(addresses, ports | shl<32>(packet.protocol), tables.hash);
  return packet;
}

LINIMO_LANE Recognized recognize6(const LaneTables& tables, Mask plain, Lanes length, Lanes frame,
                                  const Columns& link, const Columns& addresses) {
  const Lanes none = all(number(kNothing));
  plain = plain & at_most(all(kLeast6), length);
  const Lanes l4 = gather(select(plain, frame + all(kEthernet + sizeof(packet::Ipv6)), none));
  const Lanes behind = gather(select(at_most(all(kLeastTcp6), length), frame + all(kLeastTcp6 - 8), none));
  const Lanes l4_length = wire16<2>(link.q2);
  Recognized packet;
  packet.ip_length = l4_length + all(sizeof(packet::Ipv6));
  packet.protocol = shr<32>(link.q2) & all(0xff);
  packet.ports = low_half(l4);
  Mask is_tcp;
  plain = plain & is_sound(packet.protocol, l4_length, behind, shr<32>(l4), is_tcp);
  plain = plain & at_most(packet.ip_length + all(kEthernet), length);
  packet.tcp_flags = select(is_tcp, shr<8>(behind) & all(0xff), all(0));
  const Lanes first_bytes = shr<48>(link.q1);
  const Lanes traffic_class = shl<4>(first_bytes & all(0xf)) | shr<12>(first_bytes);
  packet.head = shl<56>(traffic_class) | all(uint64_t{packet::kDontFragment} << 32 | LINIMO_IPV6);

  const Lanes source = addresses.q0;
  const Lanes site = shr<48>(multiply(shl<16>(source), all(LINIMO_GOLDEN_RATIO)));
  const Mask odd = equal(source, all(0)) | equal(source & all(0xff), all(0xff));  // linimo_may_be_martian6
  const Mask near = is_set(tables.suspects->near6(), site);
  plain = plain & ~odd;
  if (bits(plain & near) != 0) {
    plain = plain & ~(near & (is_set(tables.suspects->all6(), site) |
                              is_set(tables.suspects->ones(), mixed_place(source, addresses.q1))));
  }

  const Lanes port = shr<16>(packet.ports) | shl<16>(packet.protocol);
  const Lanes mixed = multiply(addresses.q2, all(ServiceTable::kSpread)) ^ (addresses.q3 ^ shl<32>(port));
  const Lanes first =
      shr_all(multiply(mixed ^ shr<32>(mixed), all(ServiceTable::kSpread)), tables.services_of6.shift);
  Field places, services;
  store(places, all(number(tables.services_of6.places)) + shl<5>(first));
  const Columns place = columns(places, 0);
  packet.service = low_half(place.q3);
  const Mask found = equal(place.q0, addresses.q2) & equal(place.q1, addresses.q3) & equal(place.q2, port);
  if (const uint32_t others = bits(plain & ~found)) [[unlikely]] {
    Field high, low, ports, firsts;
    store(high, addresses.q2);
    store(low, addresses.q3);
    store(ports, port);
    store(firsts, first);
    store(services, packet.service);
    each(
        others, [&](uint32_t i) __attribute__((always_inline)) {
          ServiceTable::Key6 wanted;
          wanted.address = {high[i], low[i]};
          wanted.port = ports[i];
          services[i] = probe(tables.services_of6, firsts[i], wanted);
        });
    packet.service = load(services);
  }
  packet.plain = plain & ~equal(packet.service, all(ServiceTable::kNone));
  packet.hash = flow_hash6(addresses, packet.ports | shl<32>(packet.protocol), tables.hash);
  return packet;
}

LINIMO_LANE Recognized of_both(Mask v6, const Recognized& six, const Recognized& four) {
  return {(v6 & six.plain) | (~v6 & four.plain),     select(v6, six.ip_length, four.ip_length),
          select(v6, six.protocol, four.protocol),   select(v6, six.ports, four.ports),
          select(v6, six.tcp_flags, four.tcp_flags), select(v6, six.head, four.head),
          select(v6, six.hash, four.hash),           select(v6, six.service, four.service)};
}

}  // namespace
}  // namespace linimo::LINIMO_LANES
