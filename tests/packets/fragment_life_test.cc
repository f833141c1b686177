// How long each engine remembers which backend the first fragment of a datagram was sent to, in virtual time.

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

class FragmentLife : public Tracking {
 protected:
  /// A datagram's fragments, first to last, all to one backend.
  const std::vector<Step>& fragments() const {
    const auto& cases = case_file().cases;
    return std::find_if(
               cases.begin(), cases.end(),
               [&](const Case& one) { return one.name == "fragments_in_order" + family() + "_ipip4_17"; })
        ->steps;
  }
};

// For two seconds, which in the XDP engine pass by ticks of a little more than one.
TEST_P(FragmentLife, AFirstFragmentIsRememberedForTwoSeconds) {
  begin(case_file().configuration);
  ASSERT_EQ(engine.run(fragments()[0].frame, kStart_ms).counter, LINIMO_OUTCOME_forwarded);
  EXPECT_EQ(engine.run(fragments()[1].frame, kStart_ms + 1074).counter, LINIMO_OUTCOME_forwarded);
  EXPECT_EQ(engine.run(fragments()[2].frame, kStart_ms + 3300).way, Left::Way::kHeld);
  engine.forget_flows();
}

// A service goes, and what it tunnels to stays for others: a late fragment of its datagram is dropped. Each
// packet of engine dpdk goes alone here, as in a capture.
TEST_P(FragmentLife, AFragmentOfAServiceThatHasGoneIsDropped) {
  begin(case_file().configuration);
  ASSERT_EQ(engine.run(fragments()[0].frame, kStart_ms).counter, LINIMO_OUTCOME_forwarded);
  Configuration others = case_file().configuration;
  for (ServiceSpec& service : others.snapshot.services) service.id += LINIMO_MAX_SERVICES / 2;
  engine.apply(others);
  EXPECT_EQ(engine.run(fragments()[1].frame, kStart_ms + 1).counter, LINIMO_OUTCOME_fragment_unmatched);
  engine.forget_flows();
}

// Whether its service and its backend are still there is asked before the way to it.
TEST_P(FragmentLife, AFragmentOfADeadBackendIsDroppedBeforeItsWayIsAsked) {
  begin(case_file().configuration);
  ASSERT_EQ(engine.run(fragments()[0].frame, kStart_ms).counter, LINIMO_OUTCOME_forwarded);
  Configuration others = case_file().configuration;
  auto& pools = others.snapshot.pools;
  PoolSpec& pool =
      *std::find_if(pools.begin(), pools.end(), [](const PoolSpec& one) { return one.name == "ipip4"; });
  NextHop& way = std::find_if(others.next_hops.begin(), others.next_hops.end(), [&](const auto& one) {
                   return one.first == pool.backends[0].id;
                 })->second;
  way.state = NextHop::kNoRoute;
  engine.apply(others);
  EXPECT_EQ(engine.run(fragments()[1].frame, kStart_ms + 1).counter, LINIMO_OUTCOME_no_route);
  pool.backends[0].state = LINIMO_BACKEND_DOWN;
  pool.table = make_pool_table(pool.backends, static_cast<uint32_t>(pool.table->slots.size()));
  engine.apply(others);
  EXPECT_EQ(engine.run(fragments()[1].frame, kStart_ms + 1).counter, LINIMO_OUTCOME_fragment_unmatched);
  engine.apply(case_file().configuration);
  engine.forget_flows();
}

INSTANTIATE_TEST_SUITE_P(Engines, FragmentLife, testing::ValuesIn(kTrackedBy), tracked_by);

}  // namespace
}  // namespace linimo::tests
