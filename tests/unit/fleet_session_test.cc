// How a node keeps its lease, and when an operator is told that the store is out of reach.

#include <algorithm>

#include <gtest/gtest.h>

#include "controlplane/fleet/session.h"
#include "controlplane/fleet/step.h"

namespace linimo::fleet {
namespace {

using std::chrono::milliseconds;

TEST(FleetSession, ALeaseThatIsNotGrantedIsAskedForAfterAMomentAndALostOneAtOnce) {
  State s;
  s.session.lease_request = 1;
  take_lease(s, {1, 0, milliseconds(0)});
  EXPECT_EQ(s.session.lease_due, s.now + s.settings.retry);
  s.session.lease_request = 2;
  s.session.lease = 77;
  take_lease(s, {2, 77, milliseconds(0)});
  EXPECT_EQ(s.session.lease_due, s.now);
  EXPECT_EQ(s.session.lease, 0);
}

TEST(FleetSession, AnOperatorIsToldBeforeTheLeaseIsOverAndSoonerWhereThePictureIsGone) {
  using std::chrono::seconds;
  const auto told_after = [](bool watches) {
    State s = start({.node = "a", .about = {}, .tunnel = {}, .lease = seconds(6)}, {}, Time(seconds(100)));
    s.session.lease = 77;
    s.session.once_read = true;
    s.session.watch = watches ? 1 : 0;
    s.session.read_due = watches ? s.now + std::chrono::hours(1) : s.now;
    const Time began = s.now;
    for (;; s.now += milliseconds(100)) {
      Actions out;
      keep_session(s, out);
      if (std::any_of(out.begin(), out.end(),
                      [](const Action& one) { return std::holds_alternative<Alarm>(one); })) {
        EXPECT_TRUE(in_reach(s));
        return s.now - began;
      }
    }
  };
  EXPECT_EQ(told_after(true), seconds(5)) << "two members have had time to answer";
  EXPECT_EQ(told_after(false), seconds(3)) << "a member without a quorum may keep leases all the same";
}

}  // namespace
}  // namespace linimo::fleet
