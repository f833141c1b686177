// Devices of the kernel's that DPDK does not take: what is said of each.

#include "dataplane/dpdk/device_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace linimo::dpdk {
namespace {

using testing::HasSubstr;

TEST(DeviceKind, NicsAreTaken) {
  for (const char* kind : {"", "veth", "tun"}) EXPECT_EQ(refusal_of_kind("eth0", kind, {}), "") << kind;
}

TEST(DeviceKind, ABondsMembersAreNamed) {
  EXPECT_THAT(refusal_of_kind("bond0", "bond", {"eth0", "eth1"}),
              HasSubstr("bond0 is a bond: DPDK takes NICs"));
  EXPECT_THAT(refusal_of_kind("bond0", "bond", {"eth0", "eth1"}),
              HasSubstr("take its members (eth0, eth1) out of it"));
  EXPECT_THAT(refusal_of_kind("team0", "team", {}), HasSubstr("team0 is a team"));
}

TEST(DeviceKind, SoIsTheNicUnderAVlan) {
  const std::string said = refusal_of_kind("eth0.100", "vlan", {"eth0"});
  EXPECT_THAT(said, HasSubstr("eth0.100 is a vlan device"));
  EXPECT_THAT(said, HasSubstr("name the one it stands on (eth0)"));
  EXPECT_THAT(said, HasSubstr("engine \"xdp\""));
  EXPECT_NE(refusal_of_kind("m", "macvlan", {"eth0"}), "");
}

TEST(DeviceKind, ABridgeIsNone) {
  EXPECT_THAT(refusal_of_kind("br0", "bridge", {"eth0"}), HasSubstr("br0 is a bridge"));
}

}  // namespace
}  // namespace linimo::dpdk
