#include "dataplane/egress/next_hop.h"

#include <cstring>

#include <gtest/gtest.h>

namespace linimo {
namespace {

using Octets = std::array<uint8_t, 8>;

// The BPF program copies both to the frame as they lie.
TEST(NextHop, HoldsTheMacAndTheTagsAsTheyLieOnTheWire) {
  const std::shared_ptr<linimo_next_hop[]> records =
      std::make_shared<linimo_next_hop[]>(LINIMO_MAX_BACKEND_IDS);
  NextHopTable table(records);
  const NextHop hop = {.state = NextHop::kResolved,
                       .port = 5,
                       .mac = {2, 0, 0xfe, 0x80, 0x7f, 0xff},
                       .mtu = 9000,
                       .tags = {{{0x88a8, 0x2064}, {0x8100, 0x0fff}}}};
  table.store(LINIMO_MAX_BACKEND_IDS - 1, hop);

  const linimo_next_hop& record = records[LINIMO_MAX_BACKEND_IDS - 1];
  Octets way{};
  Octets tags{};
  std::memcpy(way.data(), &record.way, 8);
  std::memcpy(tags.data(), &record.tags, 8);
  EXPECT_EQ(way, (Octets{2, 0, 0xfe, 0x80, 0x7f, 0xff, 5, LINIMO_NEXT_HOP_RESOLVED}));
  EXPECT_EQ(tags, (Octets{0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0x0f, 0xff}));
  EXPECT_EQ(record.mtu, 9000U);
  const NextHopTable::Raw raw = table.load(LINIMO_MAX_BACKEND_IDS - 1);
  EXPECT_EQ(raw.state(), NextHop::kResolved);
  EXPECT_EQ(raw.port(), 5);
  EXPECT_EQ(raw.mtu(), 9000U);
  EXPECT_EQ(raw.tags_length(), 8U);
}

TEST(NextHop, SaysHowLongItsTagsAre) {
  NextHopTable table;
  EXPECT_EQ(table.load(1).tags_length(), 0U);
  table.store(1, {.tags = {{{0x8100, 7}, {}}}});
  EXPECT_EQ(table.load(1).tags_length(), 4U);
}

TEST(NextHop, IsWithoutRouteInZeroedMemory) {
  EXPECT_EQ(NextHopTable().load(0).state(), NextHop::kNoRoute);
}

}  // namespace
}  // namespace linimo
