// What others lose of what was sent is counted, and fails a condition only where sending does not work.

#include "dataplane/loss_watch.h"

#include <gtest/gtest.h>

#include "dataplane/netdev.h"

namespace linimo {
namespace {

TEST(XdpTransmitLosses, AreWhatDriversCallSo) {
  const NetdevStatistic statistics[] = {
      {"rx_queue_0_xdp_tx_errors", 1},    // veth
      {"tx_queue_0_xdp_xmit_errors", 2},  // veth, redirected
      {"tx_queue_1_xdp_tx_drops", 4},     // virtio_net
      {"rx_xdp_tx_full", 8},              // mlx5
      {"tx_xdp_err", 16},                 // mlx5, redirected
      {"rx_queue_0_xdp_drops", 1000},     // the program's own verdict
      {"rx_queue_0_xdp_tx", 1000},        // sent well
      {"rx_queue_0_drops", 1000},         // before the program
      {"tx_errors", 1000},                // not XDP's
  };
  EXPECT_EQ(xdp_transmit_losses(statistics), 31);
}

class Losses : public testing::Test {
 protected:
  ConditionState state(const char* name = "transmit-works") {
    return board.entries().at({name, "eth0"}).state;
  }
  /// So many more in the next second.
  void pass(uint64_t sent, uint64_t lost) {
    now.sent += sent;
    now.transmit_lost += lost;
    watch.look(now);
  }

  ConditionBoard board;
  CountersBlock counters{};
  LossWatch watch{board, counters, "eth0"};
  FrameCounts now{.sent = 500, .transmit_lost = 77};
};

TEST_F(Losses, AreCountedFromTheFirstLookOn) {
  pass(0, 0);
  EXPECT_EQ(counters.transmit_lost, 0);
  pass(100, 3);
  pass(100, 4);
  EXPECT_EQ(counters.transmit_lost, 7);
  EXPECT_EQ(state(), ConditionState::kHolds);
}

TEST_F(Losses, OfADeviceThatIsMadeAnewGoOn) {
  pass(0, 0);
  pass(100, 3);
  now.transmit_lost = 2;  // it counts from zero again
  watch.look(now);
  EXPECT_EQ(counters.transmit_lost, 5);
}

TEST_F(Losses, OfASlowLinkFailNothing) {
  pass(0, 0);
  for (int i = 0; i < 20; ++i) pass(100, 40);
  EXPECT_EQ(state(), ConditionState::kHolds);
}

TEST_F(Losses, OfMostFramesFailOnceTheyLast) {
  pass(0, 0);
  for (uint32_t i = 1; i < LossWatch::kLooks; ++i) pass(100, 100);
  EXPECT_EQ(state(), ConditionState::kHolds);
  pass(100, 100);
  EXPECT_EQ(state(), ConditionState::kFails);
}

// Once the VIPs are gone nothing comes that would show whether sending works.
TEST_F(Losses, AreOverWhenFramesLeaveAgainOrAfterALongQuiet) {
  pass(0, 0);
  for (uint32_t i = 0; i < LossWatch::kLooks; ++i) pass(100, 100);
  for (uint32_t i = 1; i < LossWatch::kRetryLooks; ++i) pass(0, 0);
  EXPECT_EQ(state(), ConditionState::kFails);
  pass(0, 0);
  EXPECT_EQ(state(), ConditionState::kHolds);
  for (uint32_t i = 0; i < LossWatch::kLooks; ++i) pass(100, 100);
  EXPECT_EQ(state(), ConditionState::kFails);
  pass(100, 0);
  EXPECT_EQ(state(), ConditionState::kHolds);
}

TEST_F(Losses, BeforeReceivingAreAdvice) {
  now.receive_lost = 5;
  pass(0, 0);
  EXPECT_EQ(state("receive-works"), ConditionState::kHolds);
  now.receive_lost = 6;
  pass(0, 0);
  EXPECT_EQ(counters.receive_lost, 1);
  EXPECT_EQ(state("receive-works"), ConditionState::kFails);
}

}  // namespace
}  // namespace linimo
