// A cause is a line, though it concern every backend; and nothing that lasts goes unsaid.

#include "dataplane/nexthop/next_hop_log.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace linimo {
namespace {

using std::chrono::milliseconds;

class NextHopLogTest : public testing::Test {
 protected:
  std::string said(int at_ms) {
    std::string all;
    for (const auto& line :
         log_.lines(NextHopLog::Clock::time_point(std::chrono::hours(1)) + milliseconds(at_ms)))
      all += line.text + "\n";
    return all;
  }
  void note(uint32_t id, NextHop::State state) { log_.note(id, Address::v4(htonl(0x0a000000 + id)), state); }

  NextHopLog log_;
};

TEST_F(NextHopLogTest, SaysALostRouteOnce) {
  for (uint32_t id = 1; id <= 300; ++id) note(id, NextHop::kResolved);
  EXPECT_EQ(said(0), "300 backends (10.0.0.1, 10.0.0.2, 10.0.0.3, ...): resolved\n");
  for (int round = 0; round < 5; ++round) {
    for (uint32_t id = 1; id <= 300; ++id) note(id, NextHop::kNoRoute);
  }
  EXPECT_EQ(said(500), "") << "a second has not passed";
  EXPECT_EQ(said(1000), "300 backends (10.0.0.1, 10.0.0.2, 10.0.0.3, ...): no route\n");
  EXPECT_EQ(said(9000), "");
}

TEST_F(NextHopLogTest, LeavesOutWhatHasChangedBack) {
  note(1, NextHop::kResolved);
  note(2, NextHop::kResolved);
  said(0);
  note(1, NextHop::kNoRoute);
  note(2, NextHop::kUnresolved);
  note(1, NextHop::kResolved);
  EXPECT_EQ(said(2000), "backend 10.0.0.2: next hop not resolved\n");
  note(2, NextHop::kResolved);
  note(2, NextHop::kUnresolved);
  EXPECT_EQ(said(4000), "");
}

TEST_F(NextHopLogTest, KnowsABackendByItsAddress) {
  note(1, NextHop::kResolved);
  said(0);
  log_.note(1, *Address::parse("2001:db8::1"), NextHop::kResolved);
  EXPECT_EQ(said(2000), "backend 2001:db8::1: resolved\n");
  log_.forget(1);
  note(1, NextHop::kResolved);
  EXPECT_EQ(said(4000), "backend 10.0.0.1: resolved\n");
}

}  // namespace
}  // namespace linimo
