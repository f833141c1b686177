// Every named case through every engine: outcome, counter, and each byte that leaves.

#include <functional>

#include <gtest/gtest.h>

#include "maglev/counters.h"
#include "tests/packets/case_file.h"
#include "tests/packets/dpdk_engine.h"
#include "tests/packets/expect.h"
#include "tests/packets/traced_engine.h"
#include "tests/packets/xdp_engine.h"

namespace linimo::tests {
namespace {

using MakeEngine = std::function<Engine&()>;

class PacketCase : public testing::TestWithParam<std::tuple<MakeEngine, Case>> {};

TEST_P(PacketCase, Holds) {
  const auto& [make_engine, wanted] = GetParam();
  Engine& engine = make_engine();
  engine.apply(case_file().configuration_of(wanted));
  engine.forget_flows();

  Chosen chosen;
  for (size_t i = 0; i < wanted.steps.size(); ++i) {
    const Step& step = wanted.steps[i];
    const std::string difference = step.settles
                                       ? difference_from(step, engine.pass_time(kStart_ms), &chosen)
                                       : difference_from(step, engine.run(step.frame, kStart_ms), &chosen);
    EXPECT_EQ(difference, "") << "row: " << wanted.row << "\nstep " << i << ", frame in: " << hex(step.frame);
  }
  if (wanted.choice == Case::Choice::kSame) {
    for (const auto& [flow, backends] : chosen) {
      EXPECT_EQ(backends.size(), 1U) << "one flow, several backends " << flow;
    }
  } else if (wanted.choice == Case::Choice::kSpread) {
    EXPECT_EQ(chosen[""].size(), wanted.steps.front().possible.size()) << "a backend was never chosen";
  }
}

std::string name_of(const testing::TestParamInfo<PacketCase::ParamType>& info) {
  return std::get<Case>(info.param).name;
}

Engine& dpdk() {
  return dpdk_engine();
}

Engine& xdp() {
  return xdp_engine();
}

/// The engine `dpdk` by each back end of lanes.
std::vector<MakeEngine> dpdk_in_lanes() {
  std::vector<MakeEngine> engines;
  for (const LanePath* path : lane_paths())
    engines.push_back([path]() -> Engine& { return dpdk_engine(*path); });
  return engines;
}

std::string name_in_lanes(const testing::TestParamInfo<PacketCase::ParamType>& info) {
  const size_t path = info.index / case_file().cases.size();
  return name_of(info) + "_" + lane_paths()[path]->name;
}

// What is plain goes the straight path there, so that the whole one would be tried with the odd alone.
Engine& xdp_whole() {
  return xdp_whole_engine();
}

// What a capture says of a packet is what became of it.
Engine& xdp_captured() {
  return xdp_captured_engine();
}

// What trace says of a packet is what then becomes of it.
Engine& dpdk_traced() {
  return traced_dpdk_engine();
}

Engine& xdp_traced() {
  return traced_xdp_engine();
}

INSTANTIATE_TEST_SUITE_P(DpdkTraced, PacketCase,
                         testing::Combine(testing::Values(&dpdk_traced),
                                          testing::ValuesIn(case_file().cases)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(XdpTraced, PacketCase,
                         testing::Combine(testing::Values(&xdp_traced), testing::ValuesIn(case_file().cases)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(XdpCaptured, PacketCase,
                         testing::Combine(testing::Values(&xdp_captured),
                                          testing::ValuesIn(case_file().cases)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Dpdk, PacketCase,
                         testing::Combine(testing::Values(MakeEngine(dpdk)),
                                          testing::ValuesIn(case_file().cases)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(DpdkLanes, PacketCase,
                         testing::Combine(testing::ValuesIn(dpdk_in_lanes()),
                                          testing::ValuesIn(case_file().cases)),
                         name_in_lanes);
INSTANTIATE_TEST_SUITE_P(Xdp, PacketCase,
                         testing::Combine(testing::Values(MakeEngine(xdp)),
                                          testing::ValuesIn(case_file().cases)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(XdpWhole, PacketCase,
                         testing::Combine(testing::Values(MakeEngine(xdp_whole)),
                                          testing::ValuesIn(case_file().cases)),
                         name_of);

}  // namespace
}  // namespace linimo::tests
