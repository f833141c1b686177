#include "dataplane/xdp/queue_rows.h"

#include <gtest/gtest.h>

namespace linimo::xdp {
namespace {

using Rows = std::vector<uint32_t>;

Rows planned(std::vector<QueueCount> interfaces, uint32_t cpus, uint32_t room = 255) {
  return plan_rows(interfaces, cpus, room);
}

TEST(QueueRows, QueuesThatMayComeHaveTheirRowsAlready) {
  EXPECT_EQ(planned({{1, 4}}, 2), Rows({4}));
  EXPECT_EQ(planned({{2, 4}, {1, 1}}, 2), Rows({4, 1}));
}

TEST(QueueRows, TheReserveIsBoundedByTheCpusAndWhatIsThereIsNot) {
  EXPECT_EQ(planned({{1, 64}}, 2), Rows({4}));
  EXPECT_EQ(planned({{16, 64}}, 2), Rows({16}));
}

TEST(QueueRows, ADriverThatDoesNotSayGetsWhatIsThere) {
  EXPECT_EQ(planned({{1, 0}}, 8), Rows({1}));
  EXPECT_EQ(planned({{0, 0}}, 8), Rows({1}));
}

TEST(QueueRows, WhereThereIsNoRoomForAllThoseWithTheMostGoShort) {
  EXPECT_EQ(planned({{300, 300}}, 2), Rows({255}));
  EXPECT_EQ(planned({{200, 200}, {4, 4}, {100, 100}}, 2), Rows({151, 4, 100}));
  EXPECT_EQ(planned({{8, 8}, {8, 8}, {8, 8}}, 2, 3), Rows({1, 1, 1}));
}

}  // namespace
}  // namespace linimo::xdp
