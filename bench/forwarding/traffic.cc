#include "bench/forwarding/traffic.h"

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

#include "dataplane/packet/checksum.h"
#include "dataplane/packet/headers.h"

namespace linimo::bench {
namespace {

using namespace packet;

constexpr uint32_t kFirstClient = 0x0a000000;  // 10.0.0.0/8: the lower 24 bits of a flow's number
constexpr uint32_t kElsewhere = 0xc0000201;    // 192.0.2.1, nobody's VIP
constexpr uint16_t kFirstPort = 1024;          // and the rest of them
constexpr uint8_t kClients6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0x0c};
constexpr uint8_t kVips6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0x0f};

/// A random permutation is what makes the elephants of a Zipf distribution lie anywhere in memory; the
/// connection table's hash does that.
std::vector<uint32_t> draw_zipf(uint64_t flows, std::mt19937_64& random) {
  std::vector<double> up_to(flows);
  double sum = 0;
  for (uint64_t k = 0; k < flows; ++k) up_to[k] = sum += 1.0 / static_cast<double>(k + 1);
  std::uniform_real_distribution<double> anywhere(0, sum);
  std::vector<uint32_t> drawn(Schedule::kLength);
  for (uint32_t& flow : drawn) {
    flow =
        static_cast<uint32_t>(std::lower_bound(up_to.begin(), up_to.end(), anywhere(random)) - up_to.begin());
  }
  return drawn;
}

uint16_t imix_length(uint64_t at) {
  constexpr uint16_t kShort = 60, kMiddle = 590, kLong = 1514;  // on the wire 4 more
  constexpr uint16_t kLengths[12] = {kShort,  kMiddle, kShort, kShort,  kMiddle, kShort,
                                     kMiddle, kShort,  kLong,  kMiddle, kShort,  kShort};
  return kLengths[at % 12];
}

}  // namespace

std::shared_ptr<const Schedule> Schedule::make(Order order, uint64_t flows) {
  static std::map<std::pair<Order, uint64_t>, std::weak_ptr<const Schedule>> made;
  auto& known = made[{order, flows}];
  if (auto schedule = known.lock()) return schedule;
  auto schedule = std::make_shared<Schedule>();
  std::mt19937_64 random(flows);
  if (order == Order::kZipf) {
    schedule->flows_ = draw_zipf(flows, random);
  } else {
    std::uniform_int_distribution<uint32_t> any(0, static_cast<uint32_t>(flows - 1));
    schedule->flows_.resize(kLength);
    for (uint32_t& flow : schedule->flows_) flow = any(random);
  }
  known = schedule;
  return schedule;
}

Traffic::Traffic(const TrafficSpec& spec) : spec_(spec) {
  if (spec.order == Order::kUniform || spec.order == Order::kZipf) {
    schedule_ = Schedule::make(spec.order, spec.flows);
  }
  auto& ethernet = *reinterpret_cast<Ethernet*>(headers_.data());
  const uint8_t to[] = {2, 0, 0, 0, 0, 1};
  const uint8_t from[] = {2, 0, 0, 0, 0, 2};
  std::memcpy(ethernet.destination, to, sizeof to);
  std::memcpy(ethernet.source, from, sizeof from);
  uint8_t* behind = headers_.data() + sizeof ethernet;
  Tcp* tcp = nullptr;
  if (spec.v6) {
    ethernet.type = kTypeIpv6;
    auto& ip = *reinterpret_cast<Ipv6*>(behind);
    ip.version_class_label = swap32(6U << 28);
    ip.next_header = kTcp;
    ip.hop_limit = 64;
    std::memcpy(ip.source, kClients6, 16);
    std::memcpy(ip.destination, kVips6, 16);
    tcp = reinterpret_cast<Tcp*>(behind + sizeof ip);
    length_ = sizeof ethernet + sizeof ip + sizeof *tcp;
  } else {
    ethernet.type = kTypeIpv4;
    auto& ip = *reinterpret_cast<Ipv4*>(behind);
    ip.version_ihl = 0x45;
    ip.fragment = kDontFragment;
    ip.ttl = 64;
    ip.protocol = kTcp;
    tcp = reinterpret_cast<Tcp*>(behind + sizeof ip);
    length_ = 60;
    checksum_base_ = checksum_fold(checksum_add(&ip, sizeof ip));
  }
  tcp->destination_port = swap16(spec.port);
  tcp->data_offset = sizeof *tcp / 4 << 4;
  tcp->flags = spec.syn ? kTcpSyn : kTcpAck;
}

uint16_t Traffic::write_next(uint8_t* frame) {
  uint32_t flow;
  if (in_turn_left_ != 0 || spec_.order == Order::kInTurn) {
    in_turn_left_ -= in_turn_left_ != 0;
    flow = static_cast<uint32_t>(next_in_turn_);
    if (++next_in_turn_ == spec_.flows) next_in_turn_ = 0;
  } else if (spec_.order == Order::kNeverSeen) {
    flow = static_cast<uint32_t>(next_);
  } else {
    flow = (*schedule_)[next_];
  }
  const uint16_t length = spec_.sizes == Sizes::kImix ? imix_length(next_) : length_;
  ++next_;
  flow += spec_.first_flow;
  const auto mixed = static_cast<uint32_t>(flow * 0x9e3779b1U);
  const auto service = spec_.first_service + static_cast<uint32_t>(uint64_t{mixed} * spec_.services >> 32);

  std::memcpy(frame, headers_.data(), 64);
  if (spec_.v6) std::memcpy(frame + 64, headers_.data() + 64, kHeaderBytes - 64);
  const uint16_t port = swap16(static_cast<uint16_t>(kFirstPort + (flow >> 24)));
  const auto ip_length = static_cast<uint16_t>(length - sizeof(Ethernet));
  if (spec_.v6) {
    auto& ip = *reinterpret_cast<Ipv6*>(frame + sizeof(Ethernet));
    ip.payload_length = swap16(static_cast<uint16_t>(ip_length - sizeof ip));
    const uint32_t client = swap32(flow);
    const uint32_t vip = swap32(spec_.for_a_vip ? service : ~0U);
    std::memcpy(ip.source + 12, &client, 4);
    std::memcpy(ip.destination + 12, &vip, 4);
    reinterpret_cast<Tcp*>(&ip + 1)->source_port = port;
  } else {
    auto& ip = *reinterpret_cast<Ipv4*>(frame + sizeof(Ethernet));
    ip.total_length = swap16(ip_length);
    ip.source = swap32(kFirstClient + (flow & 0xffffff));
    ip.destination = swap32(spec_.for_a_vip ? kFirstVip + service : kElsewhere);
    ip.checksum = checksum_finish(uint64_t{checksum_base_} + ip.total_length + ip.source + ip.destination);
    reinterpret_cast<Tcp*>(&ip + 1)->source_port = port;
  }
  return length;
}

}  // namespace linimo::bench
