// Devices by whose drivers a program that sends must not be run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/xdp/native.h"

namespace linimo::xdp {
namespace {

using testing::HasSubstr;

std::string danger(const std::string& driver, uint32_t queues, uint32_t most_queues, uint32_t cpus) {
  NetdevFacts facts;
  facts.queues = queues;
  facts.most_queues = most_queues;
  facts.driver = driver;
  return danger_of_native_xdp("eth0", facts, cpus);
}

TEST(NativeXdp, VirtioNeedsQueuesForWhatIsSent) {
  EXPECT_EQ(danger("virtio_net", 2, 4, 2), "");  // one for each CPU is left
  EXPECT_EQ(danger("virtio_net", 6, 8, 2), "");
  EXPECT_EQ(danger("virtio_net", 1, 1, 1), "");  // too few, which CPUs may share
  EXPECT_EQ(danger("virtio_net", 3, 4, 4), "");
  EXPECT_THAT(danger("virtio_net", 4, 4, 2), HasSubstr("`ethtool -L eth0 combined 2`"));
  EXPECT_THAT(danger("virtio_net", 7, 8, 2), HasSubstr("`ethtool -L eth0 combined 6`"));
  EXPECT_THAT(danger("virtio_net", 8, 8, 6), HasSubstr("`ethtool -L eth0 combined 6`"));
}

TEST(NativeXdp, OtherDriversDoNot) {
  EXPECT_EQ(danger("ixgbe", 4, 4, 2), "");
}

}  // namespace
}  // namespace linimo::xdp
