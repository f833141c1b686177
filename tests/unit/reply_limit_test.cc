// The token bucket of replies, over virtual time.

#include "dataplane/forward/reply_limit.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

uint32_t taken(ReplyLimit& limit, uint32_t rate, uint64_t now_ms, uint32_t wanted = 1000) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < wanted; ++i) count += limit.allows(rate, now_ms);
  return count;
}

TEST(ReplyLimit, ASecondsWorthAtOnceThenAsManyAsTheRateRefills) {
  ReplyLimit limit;
  EXPECT_EQ(taken(limit, 10, 5), 10U);
  EXPECT_EQ(taken(limit, 10, 104), 0U);
  EXPECT_EQ(taken(limit, 10, 105), 1U);
  EXPECT_EQ(taken(limit, 10, 605), 5U);
  EXPECT_EQ(taken(limit, 10, 1'000'000), 10U) << "never more than a second's worth";
}

TEST(ReplyLimit, ZeroIsNoLimitAndANewRateCountsAtOnce) {
  ReplyLimit limit;
  EXPECT_EQ(taken(limit, 0, 1), 1000U);
  EXPECT_EQ(taken(limit, 10, 1), 10U);
  EXPECT_EQ(taken(limit, 20, 1), 10U);
}

}  // namespace
}  // namespace linimo
