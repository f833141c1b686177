// Routes that leave by VLAN devices: which device is at the bottom, under which tags, whatever netlink says.

#include "dataplane/nexthop/links.h"

#include <cstring>

#include <gtest/gtest.h>
#include <linux/if_link.h>

namespace linimo {
namespace {

constexpr int kEth0 = 2, kVlan = 3, kInner = 4;
constexpr uint16_t kDot1q = 0x8100, kDot1ad = 0x88a8;

class LinksTest : public testing::Test {
 protected:
  /// A message about a link, as the kernel writes it. `id` 0: not a VLAN device.
  void link(int index, int below, uint16_t id = 0, uint16_t tpid = kDot1q, uint32_t mtu = 1500) {
    alignas(nlmsghdr) uint8_t buffer[512] = {};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer);
    header->nlmsg_type = RTM_NEWLINK;
    auto* fixed = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
    fixed->ifi_index = index;
    mnl_attr_put_u32(header, IFLA_MTU, mtu);
    if (below != 0) mnl_attr_put_u32(header, IFLA_LINK, static_cast<uint32_t>(below));
    if (id != 0) {
      nlattr* info = mnl_attr_nest_start(header, IFLA_LINKINFO);
      mnl_attr_put_strz(header, IFLA_INFO_KIND, "vlan");
      nlattr* data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
      mnl_attr_put_u16(header, IFLA_VLAN_ID, id);
      mnl_attr_put_u16(header, IFLA_VLAN_PROTOCOL, __builtin_bswap16(tpid));
      mnl_attr_nest_end(header, data);
      mnl_attr_nest_end(header, info);
    }
    links_.learn(*header);
    std::memcpy(last_, buffer, sizeof last_);
  }

  Links links_;
  alignas(nlmsghdr) uint8_t last_[512];
};

TEST_F(LinksTest, PlainDeviceIsItsOwnBottom) {
  link(kEth0, 0, 0, 0, 9000);
  EXPECT_EQ(links_.way_from(kEth0)->device, kEth0);
  EXPECT_EQ(links_.way_from(kEth0)->tags[0], VlanTag{});
  EXPECT_EQ(links_.mtu(kEth0), 9000);
  EXPECT_EQ(links_.mtu(99), 1500);
}

TEST_F(LinksTest, TheLinkOfAVethIsNoDeviceUnderIt) {
  link(kEth0, 7);
  EXPECT_EQ(links_.way_from(kEth0)->device, kEth0);
}

TEST_F(LinksTest, VlanDeviceLeavesUnderItsTag) {
  link(kEth0, 0);
  link(kVlan, kEth0, 100);
  const auto way = links_.way_from(kVlan);
  EXPECT_EQ(way->device, kEth0);
  EXPECT_EQ(way->tags[0], (VlanTag{kDot1q, 100}));
  EXPECT_EQ(way->tags[1], VlanTag{});
}

TEST_F(LinksTest, TheLowerTagIsTheOuterOne) {
  link(kInner, kVlan, 20);
  link(kVlan, kEth0, 10, kDot1ad);
  link(kEth0, 0);
  const auto way = links_.way_from(kInner);
  EXPECT_EQ(way->device, kEth0);
  EXPECT_EQ(way->tags[0], (VlanTag{kDot1ad, 10}));
  EXPECT_EQ(way->tags[1], (VlanTag{kDot1q, 20}));
}

TEST_F(LinksTest, ADeviceOfTheNodesOwnAddsItsTagItself) {
  link(kInner, kVlan, 20);
  link(kVlan, kEth0, 10, kDot1ad);
  link(kEth0, 0);
  const int own[] = {kVlan};
  EXPECT_EQ(links_.way_from(kVlan, own)->device, kVlan);
  EXPECT_EQ(links_.way_from(kVlan, own)->tags[0], VlanTag{});
  EXPECT_EQ(links_.way_from(kInner, own)->device, kVlan);
  EXPECT_EQ(links_.way_from(kInner, own)->tags[0], (VlanTag{kDot1q, 20}));
}

TEST_F(LinksTest, MoreThanTwoTagsOrACircleIsNoWay) {
  link(5, kInner, 30);
  link(kInner, kVlan, 20);
  link(kVlan, kEth0, 10);
  EXPECT_FALSE(links_.way_from(5));
  link(kVlan, kInner, 10);
  EXPECT_FALSE(links_.way_from(kVlan));
}

/// Whatever the message claims to hold: nothing outside it is read (AddressSanitizer sees to that).
TEST_F(LinksTest, MessagesCutShortAreSurvived) {
  link(kVlan, kEth0, 100);
  const uint32_t whole = reinterpret_cast<const nlmsghdr*>(last_)->nlmsg_len;
  for (uint32_t length = sizeof(nlmsghdr); length < whole; ++length) {
    const std::unique_ptr<uint8_t[]> cut(new uint8_t[length]);
    std::memcpy(cut.get(), last_, length);
    reinterpret_cast<nlmsghdr*>(cut.get())->nlmsg_len = length;
    links_.learn(*reinterpret_cast<const nlmsghdr*>(cut.get()));
  }
}

}  // namespace
}  // namespace linimo
