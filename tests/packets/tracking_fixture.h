// What tests of tracking share: flows of one service, and backends of its pool that come and go.
//
// Each test knows by itself where the table alone would send a flow, so that "it stayed" is only said of
// flows that would have moved. The parameters are the engine and the IP version.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "maglev/counters.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"
#include "tests/packets/traced_engine.h"
#include "tests/packets/xdp_engine.h"

namespace linimo::tests {

inline constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;
inline constexpr uint16_t kFirstPort = 20'000;
inline constexpr size_t kFlows = 64;
inline constexpr uint32_t kTcpIdle_s = 900, kUdpIdle_s = 60,
                          kClosing_s = 60;  // of the configuration; of the packet rules

using Choices = std::vector<Address>;

struct TrackedBy {
  std::string engine;
  std::function<Engine&()> start;
  int ip;

  friend void PrintTo(const TrackedBy& shown, std::ostream* out) { *out << shown.engine << " v" << shown.ip; }
};

inline std::vector<TrackedBy> every_engine() {
  std::vector<TrackedBy> all;
  const auto add = [&](const std::string& name, const std::function<Engine&()>& start) {
    for (const int ip : {4, 6}) all.push_back({name, start, ip});
  };
  add("Dpdk", []() -> Engine& { return dpdk_engine(); });
  for (const LanePath* path : lane_paths())
    add(std::string("Dpdk_") + path->name + "_", [path]() -> Engine& { return dpdk_engine(*path); });
  add("Xdp", []() -> Engine& { return xdp_engine(); });
  add("XdpWhole", []() -> Engine& { return xdp_whole_engine(); });
  add("DpdkTraced", traced_dpdk_engine);
  add("XdpTraced", traced_xdp_engine);
  return all;
}
inline const std::vector<TrackedBy> kTrackedBy = every_engine();

inline std::vector<TrackedBy> all_that(bool traced) {
  std::vector<TrackedBy> some = kTrackedBy;
  std::erase_if(some, [traced](const TrackedBy& one) {
    return std::string_view(one.engine).ends_with("Traced") != traced;
  });
  return some;
}
inline std::vector<TrackedBy> not_traced() {
  return all_that(false);
}
inline std::vector<TrackedBy> only_traced() {
  return all_that(true);
}

inline std::string tracked_by(const testing::TestParamInfo<TrackedBy>& info) {
  return info.param.engine + "v" + std::to_string(info.param.ip);
}

class Tracking : public testing::TestWithParam<TrackedBy> {
 protected:
  void SetUp() override {
    for (const Case& from : case_file().cases) {
      for (const char* kind :
           {"flows_spread_tracked", "udp_flows_spread_tracked", "flows_spread_untracked"}) {
        if (from.name == kind + family()) templates_[kind] = from.steps.front().frame;
      }
    }
  }

  std::string family() const { return "_v" + std::to_string(GetParam().ip); }

  /// A packet of the given flow; TCP unless another template is named.
  Bytes packet(size_t flow, uint8_t flags = kAck, const char* kind = "flows_spread_tracked") const {
    Bytes frame = templates_.at(kind);
    const size_t l4 = GetParam().ip == 4 ? 14 + 20 : 14 + 40;
    const auto port = static_cast<uint16_t>(kFirstPort + flow);
    frame[l4] = static_cast<uint8_t>(port >> 8);
    frame[l4 + 1] = static_cast<uint8_t>(port);
    if (kind != std::string_view(kUdp)) frame[l4 + 13] = flags;
    return frame;
  }

  /// The configuration with backends of the pool in this state; the others are up.
  static Configuration with(std::initializer_list<size_t> backends, linimo_backend_state state) {
    Configuration configuration = case_file().configuration;
    PoolSpec& pool = many(configuration);
    for (const size_t index : backends) pool.backends[index].state = state;
    pool.table = make_pool_table(pool.backends, static_cast<uint32_t>(pool.table->slots.size()));
    return configuration;
  }

  static PoolSpec& many(Configuration& configuration) {
    auto& pools = configuration.snapshot.pools;
    return *std::find_if(pools.begin(), pools.end(),
                         [](const PoolSpec& pool) { return pool.name == "many"; });
  }

  static PoolSpec many(const Configuration& configuration) {
    Configuration copy = configuration;
    return many(copy);
  }

  Address backend(size_t index) const { return many(all_up_).backends[index].address; }

  /// Sends a frame and says to which backend it went; all backends of the pool have IPv4 addresses.
  Address sent_to(const Bytes& frame, uint32_t after_s = 0) {
    const Result result = engine.run(frame, kStart_ms + uint64_t{after_s} * 1000);
    EXPECT_EQ(result.fault, "");
    EXPECT_EQ(result.counter, LINIMO_OUTCOME_forwarded) << outcome_name(result.counter);
    Address address = *Address::parse("0.0.0.0");
    if (result.bytes.size() >= 34) std::copy_n(result.bytes.begin() + 30, 4, address.bytes.begin() + 12);
    return address;
  }

  void begin(const Configuration& configuration) {
    engine.apply(configuration);
    engine.forget_flows();
  }

  /// Where the table alone sends each flow. Leaves the engine without flows.
  Choices choices(const Configuration& configuration, const char* kind = "flows_spread_tracked") {
    Choices result;
    begin(configuration);
    for (size_t flow = 0; flow < kFlows; ++flow) result.push_back(sent_to(packet(flow, kAck, kind)));
    engine.forget_flows();
    return result;
  }

  /// Flows that the one table sends elsewhere than the other.
  static std::vector<size_t> moved(const Choices& before, const Choices& after) {
    std::vector<size_t> flows;
    for (size_t flow = 0; flow < kFlows; ++flow) {
      if (before[flow] != after[flow]) flows.push_back(flow);
    }
    EXPECT_GE(flows.size(), 4U) << "the tables hardly differ: the test would show nothing";
    return flows;
  }

  static constexpr const char* kUdp = "udp_flows_spread_tracked";
  static constexpr const char* kUntracked = "flows_spread_untracked";

  Engine& engine = GetParam().start();
  Configuration all_up_ = case_file().configuration;
  Configuration three_up_ = with({3}, LINIMO_BACKEND_DOWN);

 private:
  std::map<std::string, Bytes> templates_;
};

}  // namespace linimo::tests
