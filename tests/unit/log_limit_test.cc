// What can be caused without end is logged once a second, and nothing is left uncounted.

#include "dataplane/link/log_limit.h"

#include <gtest/gtest.h>

namespace linimo {
namespace {

using std::chrono::milliseconds;

TEST(LogLimit, PassesOneASecondAndCountsTheOthers) {
  LogLimit limit;
  const LogLimit::Clock::time_point start{};
  EXPECT_EQ(limit.pass(start), 0U) << "the first at once";
  for (int i = 1; i < 1000; ++i) EXPECT_FALSE(limit.pass(start + milliseconds(i)));
  EXPECT_EQ(limit.pass(start + milliseconds(1000)), 999U);
  EXPECT_FALSE(limit.pass(start + milliseconds(1001)));
  EXPECT_EQ(limit.pass(start + milliseconds(5000)), 1U);
  EXPECT_EQ(limit.pass(start + milliseconds(6000)), 0U);
}

TEST(LogLimit, TellsWhatNothingCameAfter) {
  LogLimit limit;
  const LogLimit::Clock::time_point start{};
  EXPECT_EQ(limit.overdue(start), 0U);
  limit.pass(start);
  limit.pass(start);
  EXPECT_EQ(limit.overdue(start + milliseconds(999)), 0U);
  EXPECT_EQ(limit.overdue(start + milliseconds(1000)), 1U);
  EXPECT_EQ(limit.overdue(start + milliseconds(1001)), 0U) << "once";
  EXPECT_EQ(limit.pass(start + milliseconds(1002)), 0U);
}

}  // namespace
}  // namespace linimo
