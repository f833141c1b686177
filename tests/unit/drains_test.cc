// Draining: wishes outlive the process, and a backend is said to be drained when no flow can be left,
// whatever the data plane keeps of flows.

#include "controlplane/tables/drains.h"

#include <gtest/gtest.h>

#include "controlplane/tables/drain_watch.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::seconds;

BackendKey key(int number) {
  return {"web", *Address::parse("10.0.1." + std::to_string(number))};
}

Config config_of(std::vector<ServiceConfig> services) {
  PoolConfig pool;
  pool.name = "web";
  for (int i = 1; i <= 3; ++i) pool.backends.push_back({key(i).address, 100});
  Config config;
  config.pools = {pool, PoolConfig{}};
  config.services = std::move(services);
  return config;
}

ServiceConfig service(linimo_tracking tracking, uint32_t idle_timeout_s, bool quic = false,
                      uint32_t pool = 0) {
  ServiceConfig made;
  made.tracking = tracking;
  made.idle_timeout_s = idle_timeout_s;
  made.quic = quic;
  made.pool = pool;
  return made;
}

TEST(DrainsTest, AreRememberedAcrossRestarts) {
  TemporaryFolder folder;
  const auto file = folder.path() / "drains.json";
  Drains drains;
  EXPECT_TRUE(drains.load(file)) << "a missing file is no error";
  EXPECT_TRUE(drains.set(key(1), true));
  EXPECT_FALSE(drains.set(key(1), true));
  EXPECT_TRUE(drains.set(key(9), true));
  ASSERT_TRUE(drains.save(file));
  Drains restarted;
  ASSERT_TRUE(restarted.load(file));
  EXPECT_TRUE(restarted.contains(key(1)));
  EXPECT_FALSE(restarted.contains(key(2)));
  EXPECT_TRUE(restarted.keep_those_of(config_of({})));
  EXPECT_TRUE(restarted.contains(key(1)));
  EXPECT_FALSE(restarted.contains(key(9))) << "it is not configured";
  EXPECT_TRUE(restarted.set(key(1), false));
  EXPECT_FALSE(restarted.contains(key(1)));
}

TEST(DrainsTest, DoNotTakeADamagedFileForAWish) {
  TemporaryFolder folder;
  for (const char* text :
       {"", "{", "[]", R"({"version": 2, "backends": []})", R"({"version": 1})", R"({"backends": []})",
        R"({"version": 1, "backends": {}})", R"({"version": 1, "backends": [7]})",
        R"({"version": 1, "backends": [{"address": "10.0.1.1"}]})",
        R"({"version": 1, "backends": [{"pool": "web"}]})",
        R"({"version": 1, "backends": [{"pool": 1, "address": "::"}]})",
        R"({"version": 1, "backends": [{"pool": "web", "address": "10.0.1"}]})"}) {
    folder.write("drains.json", text);
    Drains drains;
    EXPECT_FALSE(drains.load(folder.path() / "drains.json")) << text;
  }
  Drains drains;
  EXPECT_FALSE(drains.load(folder.path())) << "a folder is no file, and not a missing one either";
}

TEST(DrainsTest, AskOfServicesWhatTheyKeepOfFlows) {
  const auto ends = [](std::vector<ServiceConfig> services) {
    const FlowEnds found = flow_ends(config_of(std::move(services)), 0);
    return std::pair(found.heard_of.count(), found.silence.count());
  };
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_EQ(ends({service(LINIMO_TRACKING_FULL, 900)}), Pair(0, 0));
  EXPECT_EQ(ends({service(LINIMO_TRACKING_ADAPTIVE, 900), service(LINIMO_TRACKING_ADAPTIVE, 60)}),
            Pair(900, 0));
  EXPECT_EQ(ends({service(LINIMO_TRACKING_OFF, 60)}), Pair(0, 60));
  EXPECT_EQ(ends({service(LINIMO_TRACKING_FULL, 30, true)}), Pair(0, 30)) << "QUIC follows server ids";
  EXPECT_EQ(ends({service(LINIMO_TRACKING_OFF, 60, false, 1)}), Pair(0, 0)) << "another pool's";
}

class DrainWatchTest : public testing::Test {
 protected:
  /// A look at backend 1, a second after the last.
  const DrainWatch::Progress& look(uint64_t tcp, uint64_t rounds, uint64_t packets = 0, FlowEnds ends = {}) {
    now_ += seconds(1);
    ended_ = watch_.update(
        {{key(1), ends}}, rounds,
        [&](const BackendKey&) {
          return DrainWatch::Seen{{tcp, 0}, packets};
        },
        now_);
    return *watch_.find(key(1));
  }

  DrainWatch watch_;
  DrainWatch::Time now_{std::chrono::hours(1)};
  std::vector<BackendKey> ended_;
};

TEST_F(DrainWatchTest, EndsWithTheLastTrackedFlow) {
  EXPECT_FALSE(look(10, 7).done);
  EXPECT_EQ(look(10, 8).left, std::nullopt) << "nothing has ended yet: who knows?";
  EXPECT_EQ(look(8, 9).left, seconds(5)) << "two in a second, eight are left";
  EXPECT_FALSE(look(1, 9).done);
  EXPECT_TRUE(ended_.empty());
  EXPECT_TRUE(look(0, 10).done);
  EXPECT_EQ(ended_, std::vector{key(1)});
  EXPECT_TRUE(look(0, 11).done);
  EXPECT_TRUE(ended_.empty()) << "said once";
  EXPECT_EQ(watch_.find(key(2)), nullptr);
}

/// Connections that have ended are counted until they are forgotten: the estimate says when, and falls.
TEST_F(DrainWatchTest, EstimatesTheEndOfWhatHasEndedAlready) {
  const FlowEnds ends{.heard_of = {}, .silence = {}, .idle = seconds(900)};
  look(10, 0, 5, ends);
  EXPECT_EQ(look(10, 9, 6, ends).left, seconds(916)) << "a packet, and at the latest a count after it";
  EXPECT_EQ(look(10, 9, 6, ends).left, seconds(915));
  EXPECT_EQ(look(10, 9, 6, ends).left, seconds(914));
  EXPECT_EQ(look(10, 9, 7, ends).left, seconds(916)) << "somebody lives";
  EXPECT_EQ(look(5, 9, 7, ends).left, seconds(2)) << "half have ended since";
}

/// Whoever takes a drain back and drains again between two looks drains anew: new flows have come meanwhile.
TEST_F(DrainWatchTest, BeginsAnewAfterACancelledDrain) {
  look(0, 7);
  EXPECT_TRUE(look(0, 9).done);
  watch_.forget_others({});
  EXPECT_EQ(watch_.find(key(1)), nullptr);
  EXPECT_FALSE(look(0, 9).done);
}

TEST_F(DrainWatchTest, WaitsForTwoWholeCounts) {
  EXPECT_FALSE(look(0, 7).done) << "the last count may be from before the drain";
  EXPECT_EQ(look(0, 7).left, seconds(32));
  EXPECT_FALSE(look(0, 8).done) << "and the next may have been under way";
  EXPECT_TRUE(look(0, 9).done);
}

TEST_F(DrainWatchTest, HearsOfFlowsThatHadNoEntryFirst) {
  const FlowEnds ends{.heard_of = seconds(5), .silence = seconds(0)};
  look(0, 0, 0, ends);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(look(0, 9, 0, ends).done);
  EXPECT_TRUE(look(0, 9, 0, ends).done);
}

TEST_F(DrainWatchTest, WaitsForSilenceWhereFlowsAreUnknown) {
  const FlowEnds ends{.heard_of = seconds(0), .silence = seconds(3)};
  for (uint64_t i = 0; i < 9; ++i) EXPECT_FALSE(look(0, i, i, ends).done);
  EXPECT_EQ(look(0, 9, 8, ends).left, seconds(2));
  EXPECT_FALSE(look(0, 9, 8, ends).done);
  EXPECT_TRUE(look(0, 9, 8, ends).done);
  EXPECT_FALSE(look(0, 9, 9, ends).done) << "one more packet, after all";
}

TEST_F(DrainWatchTest, BeginsAnewWhenADrainDoes) {
  look(0, 0);
  EXPECT_TRUE(look(0, 2).done);
  watch_.update(
      {}, 3, [](const BackendKey&) { return DrainWatch::Seen{}; }, now_);
  EXPECT_EQ(watch_.find(key(1)), nullptr);
  EXPECT_FALSE(look(0, 3).done);
  EXPECT_TRUE(look(0, 5).done);
  watch_.begin_anew();
  EXPECT_EQ(watch_.find(key(1)), nullptr);
}

}  // namespace
}  // namespace linimo
