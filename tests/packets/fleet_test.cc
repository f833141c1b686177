// The simulation of bench/fleet decides where a packet goes by code of its own, without frames. It must be
// the pipeline's decision: here both see the same generations and the same flows, packet by packet.

#include <algorithm>
#include <map>

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "bench/fleet/control_plane.h"
#include "bench/fleet/node.h"
#include "bench/fleet/random.h"
#include "dataplane/packet/checksum.h"
#include "dataplane/packet/headers.h"
#include "maglev/hash.h"
#include "tests/packets/dpdk_engine.h"

namespace linimo::tests {
namespace {

using namespace packet;
using fleet::kAdaptive, fleet::kFull, fleet::kOff, fleet::Mode, fleet::Random;

constexpr uint32_t kVip = 0xc6336401;  // as fleet::ControlPlane has it
constexpr uint16_t kIdle_s = 120;
constexpr Mac kPortMac = {2, 0, 0, 0, 0, 1};

struct Flow {
  uint32_t number;
  bool begun = false;
};

class FleetNode : public testing::TestWithParam<Mode> {
 protected:
  FleetNode() {
    settings_.backends = 20;
    settings_.table_size = 251;
    settings_.idle_timeout_s = kIdle_s;
    settings_.flows_per_node = 512;  // fewer than there are: some find no place, some make room
    engine_.forget_configuration();
    engine_.forget_flows(GetParam() == kOff ? 1 : settings_.flows_per_node);
    for (uint32_t id = 0; id < settings_.backends; ++id) {
      NextHop hop;
      hop.state = NextHop::kResolved;
      hop.mac = {2, 0, 0, 0, 0, 3};
      next_hops_.emplace_back(id, hop);
    }
  }

  void publish(fleet::Pool& pool, uint32_t now_s) {
    const SnapshotSpec spec = control_plane_.plan(pool.spec(), now_s * 1000);
    const std::vector<std::byte> bytes = build_snapshot(spec);
    if (node_ == nullptr) node_ = std::make_unique<fleet::Node>(settings_);
    node_->publish(bytes, now_s);
    engine_.apply({.snapshot = spec, .port_macs = {kPortMac}, .host_addresses = {}, .next_hops = next_hops_});
  }

  /// What a worker does beside forwarding, as often as the simulation does.
  void keep_house(uint32_t now_s) {
    node_->keep_house(now_s);
    if (now_s % fleet::Node::kSettleEvery_s == 0) engine_.pass_time(now_s * uint64_t{1000});
    ConnectionTable& connections = engine_.all_flows().front().connections;
    connections.sweep(connections.buckets() / fleet::Node::kSweepRound_s + 1,
                      std::vector<SweptService>(fleet::kModes, {.idle_timeout = kIdle_s, .tcp = true}), now_s,
                      census_);
  }

  /// The backend's id.
  uint32_t choice_of_pipeline(uint32_t flow, uint8_t flags, uint32_t now_s) {
    Bytes frame(60);
    auto& ethernet = *reinterpret_cast<Ethernet*>(frame.data());
    std::copy(kPortMac.begin(), kPortMac.end(), ethernet.destination);
    ethernet.source[0] = 2;
    ethernet.type = kTypeIpv4;
    auto& ip = *reinterpret_cast<Ipv4*>(&ethernet + 1);
    ip.version_ihl = 0x45;
    ip.total_length = htons(40);
    ip.fragment = kDontFragment;
    ip.ttl = 64;
    ip.protocol = kTcp;
    ip.source = source_of(flow);
    ip.destination = htonl(kVip);
    ip.checksum = checksum_finish(checksum_add(&ip, sizeof ip));
    auto& tcp = *reinterpret_cast<Tcp*>(&ip + 1);
    tcp.source_port = htons(1024);
    tcp.destination_port = htons(fleet::Node::port_of(GetParam()));
    tcp.data_offset = sizeof tcp / 4 << 4;
    tcp.flags = flags;
    const Result result = engine_.run(frame, now_s * uint64_t{1000});
    EXPECT_EQ(result.fault, "");
    EXPECT_EQ(result.counter, LINIMO_OUTCOME_forwarded);
    if (result.bytes.size() < sizeof ethernet + sizeof ip) return ~0U;
    uint32_t backend;
    std::copy_n(&result.bytes[sizeof ethernet + 16], 4, reinterpret_cast<uint8_t*>(&backend));
    return ntohl(backend) - 0x0a000001;  // ids are addresses in fleet::Pool
  }

  uint32_t choice_of_simulation(uint32_t flow, uint8_t flags, uint32_t now_s) {
    linimo_key4 key{};
    key.source = source_of(flow);
    key.destination = htonl(kVip);
    key.source_port = htons(1024);
    key.destination_port = htons(fleet::Node::port_of(GetParam()));
    key.protocol = kTcp;
    const uint64_t hash = flow_hash(key, settings_.seed);
    return node_->choose(
        GetParam(),
        {hash, slot_of(hash, settings_.table_size), (flags & kTcpSyn) != 0, (flags & kTcpFin) != 0, false},
        now_s);
  }

  static uint32_t source_of(uint32_t flow) { return htonl(0x0b000000 + flow); }

  fleet::Settings settings_;
  fleet::ControlPlane control_plane_{settings_};
  std::vector<std::pair<uint32_t, NextHop>> next_hops_;
  std::unique_ptr<fleet::Node> node_;
  DpdkEngine& engine_ = dpdk_engine();
  std::unique_ptr<WorkerCounters> counted_ = std::make_unique<WorkerCounters>();
  FlowCensus census_{*counted_};
  const uint64_t unstored_before_ = engine_.counters().flows_unstored;
};

TEST_P(FleetNode, ChoosesAsThePipelineDoes) {
  Random random(5);
  fleet::Pool pool(settings_);
  std::vector<Flow> flows(1500);
  uint32_t number = 0;
  for (Flow& flow : flows) flow.number = ++number;
  std::map<uint32_t, uint32_t> began_at;  // backends, by flow
  uint64_t elsewhere = 0;
  publish(pool, 999);
  for (uint32_t now_s = 1000; now_s < 1900; ++now_s) {
    keep_house(now_s);
    for (int i = 0; i < 60; ++i) {
      // A part of the flows is silent for longer than the timeout.
      Flow& flow = flows[random.below(random.below(4) == 0 ? 1500 : 700)];
      const bool over = flow.begun && random.below(40) == 0;
      // One in ten is heard of first in its middle, as where a node has come.
      const uint8_t flags = over                                  ? kTcpFin | kTcpAck
                            : flow.begun || random.below(10) == 0 ? kTcpAck
                                                                  : kTcpSyn;
      const uint32_t chosen = choice_of_pipeline(flow.number, flags, now_s);
      ASSERT_EQ(choice_of_simulation(flow.number, flags, now_s), chosen)
          << "flow " << flow.number << ", flags " << int{flags} << ", at " << now_s;
      const auto began = began_at.emplace(flow.number, chosen).first;
      elsewhere += began->second != chosen;
      flow.begun = true;
      if (over) flow = {++number};
    }
    if (now_s % 25 == 24) {
      // Something happens to a backend; all but a few are up at any time.
      const uint32_t backend = random.below(settings_.backends);
      constexpr linimo_backend_state kStates[] = {LINIMO_BACKEND_UP, LINIMO_BACKEND_UP,
                                                  LINIMO_BACKEND_DRAINING, LINIMO_BACKEND_DOWN};
      pool.set_state(backend, kStates[random.below(4)]);
      pool.set_weight(random.below(settings_.backends), 50 + random.below(100));
      publish(pool, now_s);
    }
    if (GetParam() != kOff) {
      ASSERT_EQ(node_->counts(GetParam()).unstored, engine_.counters().flows_unstored - unstored_before_);
    }
  }
  EXPECT_GT(elsewhere, 10U) << "tables hardly changed: the test shows nothing";
  if (GetParam() != kOff) {
    EXPECT_GT(node_->counts(GetParam()).asked, 1000U);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, FleetNode, testing::Values(kOff, kFull, kAdaptive),
                         [](const auto& mode) { return fleet::kModeNames[mode.param]; });

}  // namespace
}  // namespace linimo::tests
