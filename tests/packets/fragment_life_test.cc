// How long each engine remembers which backend the first fragment of a datagram was sent to, in virtual time.

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/packets/tracking_fixture.h"

namespace linimo::tests {
namespace {

class FragmentLife : public Tracking {};

// For two seconds, which in the XDP engine pass by ticks of a little more than one.
TEST_P(FragmentLife, AFirstFragmentIsRememberedForTwoSeconds) {
  const auto& cases = case_file().cases;
  const auto in_order = std::find_if(cases.begin(), cases.end(), [&](const Case& one) {
    return one.name == "fragments_in_order" + family() + "_ipip4_17";
  });
  ASSERT_NE(in_order, cases.end());
  begin(case_file().configuration);
  ASSERT_EQ(engine.run(in_order->steps[0].frame, kStart_ms).counter, LINIMO_OUTCOME_forwarded);
  EXPECT_EQ(engine.run(in_order->steps[1].frame, kStart_ms + 1074).counter, LINIMO_OUTCOME_forwarded);
  EXPECT_EQ(engine.run(in_order->steps[2].frame, kStart_ms + 3300).way, Left::Way::kHeld);
  engine.forget_flows();
}

// A service goes, and what it tunnels to stays for others: a late fragment of its datagram is dropped. Each
// packet of engine dpdk goes alone here, as in a capture.
TEST_P(FragmentLife, AFragmentOfAServiceThatHasGoneIsDropped) {
  const auto& cases = case_file().cases;
  const auto in_order = std::find_if(cases.begin(), cases.end(), [&](const Case& one) {
    return one.name == "fragments_in_order" + family() + "_ipip4_17";
  });
  ASSERT_NE(in_order, cases.end());
  begin(case_file().configuration);
  ASSERT_EQ(engine.run(in_order->steps[0].frame, kStart_ms).counter, LINIMO_OUTCOME_forwarded);
  Configuration others = case_file().configuration;
  for (ServiceSpec& service : others.snapshot.services) service.id += LINIMO_MAX_SERVICES / 2;
  engine.apply(others);
  EXPECT_EQ(engine.run(in_order->steps[1].frame, kStart_ms + 1).counter, LINIMO_OUTCOME_fragment_unmatched);
  engine.forget_flows();
}

INSTANTIATE_TEST_SUITE_P(Engines, FragmentLife, testing::ValuesIn(kTrackedBy), tracked_by);

}  // namespace
}  // namespace linimo::tests
