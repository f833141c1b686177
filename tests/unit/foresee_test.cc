// What a dry run says comes true: for each kind of change the slots that it says would move are those that
// move, table against table as the data plane gets them.

#include <gtest/gtest.h>

#include "controlplane/controller.h"
#include "controlplane/log.h"
#include "maglev/rules/flow_hash.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

BackendKey key(int number) {
  return {"web", *Address::parse("10.0.1." + std::to_string(number))};
}

/// Of a backend: its number, and what else the configuration says of it.
using Backends = std::map<int, std::string>;

class ForeseeTest : public testing::Test {
 protected:
  ForeseeTest() {
    set_log_level("error");
    folder_.write("seed", "0123456789abcdef");
    fake_.emplace(folder_.path() / "dataplane.sock").count = [](WorkerCounters& worker) {
      for (TrafficCount& backend : std::span(worker.backends).first(64)) backend.tcp_flows = 10;
    };
    load(text(kThree));
    auto config = load_config(folder_.path() / "linimo.toml");
    EXPECT_TRUE(config) << config.error();
    controller_.emplace(io_, std::move(*config), prober_);
    controller_->start();
    EXPECT_TRUE(wait_settled());
  }

  std::string text(const Backends& backends, int table_size = 251,
                   const std::string& tracking = "full") const {
    std::string list;
    for (const auto& [number, more] : backends)
      list += "{ address = \"10.0.1." + std::to_string(number) + "\"" + more + " }, ";
    const std::string folder = folder_.path().string();
    return "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nencap_source = [\"10.0.0.11\"]\nhash_seed_file "
           "= \"" +
           folder + "/seed\"\nruntime_dir = \"" + folder +
           "\"\n[[pool]]\nname = \"web\"\ntable_size = " + std::to_string(table_size) +
           "\nhealth = { type = \"tcp\", port = 80, interval = \"50ms\", timeout = \"50ms\", slow_start = "
           "\"0s\", "
           "flap_half_life = \"0s\" }\nbackends = [ " +
           list +
           "]\n[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\n"
           "pool = \"web\"\ntracking = \"" +
           tracking + "\"\n";
  }

  void load(const std::string& content) { folder_.write("linimo.toml", content); }

  bool wait_settled() {
    return run_until(
        io_,
        [this] {
          if (!controller_->up_to_date()) return false;
          const auto live = read_live_tables(fake_->published.back());
          for (const PoolConfig& pool : controller_->config().pools) {
            for (const BackendConfig& backend : pool.backends) {
              const auto found = live->backends.find({pool.name, backend.address});
              if (found == live->backends.end() || found->second.state == LINIMO_BACKEND_DOWN) return false;
            }
          }
          return true;
        },
        [this] { fake_->poll(); });
  }

  /// Which backend each of so many flows has by the live table; of as many as slots: by slot.
  std::vector<Address> fates(size_t flows) const {
    const auto view = SnapshotView::of_valid(fake_->published.back());
    const linimo_pool& pool = view.pools()[0];
    std::vector<Address> fates;
    for (uint64_t flow = 0; flow < flows; ++flow) {
      const uint64_t hash = ((2 * flow + 1) << 32) / (2 * flows);  // amidst its part of all hashes
      const linimo_slot slot = view.slots(pool)[linimo_slot_of(hash, pool.table_size)];
      fates.push_back(slot == LINIMO_NO_BACKEND ? Address()
                                                : Address::from_abi(view.members(pool)[slot].address));
    }
    return fates;
  }

  /// Makes the change, and says which part of so many flows has moved by it.
  double moved_by(const std::function<void()>& change, size_t flows) {
    const auto before = fates(flows);
    change();
    EXPECT_TRUE(wait_settled());
    const auto after = fates(flows);
    size_t moved = 0;
    for (size_t i = 0; i < flows; ++i) moved += before[i] == after[i] ? 0 : 1;
    return static_cast<double>(moved) / static_cast<double>(flows);
  }

  void reload(const std::string& content) {
    load(content);
    ASSERT_TRUE(controller_->reload("test"));
  }

  PoolDisruption foresee_pool(const std::string& content) {
    const auto told = controller_->foresee(content);
    EXPECT_TRUE(told) << told.error();
    return told->pools.at(0);
  }

  const Backends kThree = {{1, ""}, {2, ""}, {3, ""}};
  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::optional<FakeDataplane> fake_;
  std::optional<Controller> controller_;
};

TEST_F(ForeseeTest, EverySlotThatMovesIsForetold) {
  const std::pair<const char*, Backends> changes[] = {
      {"nothing", kThree},
      {"one comes", {{1, ""}, {2, ""}, {3, ""}, {4, ""}}},
      {"one goes", {{1, ""}, {3, ""}}},
      {"half as much weight", {{1, ""}, {2, ", weight = 50"}, {3, ""}}},
      {"no weight", {{1, ""}, {2, ", weight = 0"}, {3, ""}}},
      {"drained by the file", {{1, ""}, {2, ", drain = true"}, {3, ""}}},
      {"one for another", {{1, ""}, {2, ""}, {4, ""}}},
      {"all others", {{4, ""}, {5, ""}, {6, ""}}},
      {"only one is left", {{1, ""}}},
      {"nobody takes new flows", {{1, ", weight = 0"}, {2, ", weight = 0"}, {3, ", weight = 0"}}},
      {"two come and one goes", {{1, ""}, {2, ""}, {4, ""}, {5, ""}}},
  };
  for (const auto& [what, backends] : changes) {
    const PoolDisruption told = foresee_pool(text(backends));
    const double moved = moved_by([&, &to = backends] { reload(text(to)); }, 251);
    EXPECT_DOUBLE_EQ(told.share_moved, moved) << what;
    EXPECT_EQ(told.slots_moved, static_cast<uint32_t>(std::lround(moved * 251))) << what;
    moved_by([&] { reload(text(kThree)); }, 251);
  }
}

TEST_F(ForeseeTest, DrainsAndTheirEnd) {
  for (const bool wanted : {true, false}) {
    const auto told = controller_->foresee(key(2), wanted);
    ASSERT_TRUE(told) << told.error();
    EXPECT_FALSE(controller_->drained_by_operator(key(2)) == wanted) << "it changes nothing";
    EXPECT_EQ(told->pools[0].flows_breaking, 0u) << "established flows stay";
    EXPECT_EQ(told->services[0].share_breaking, 0);
    EXPECT_DOUBLE_EQ(told->pools[0].share_moved,
                     moved_by([&] { ASSERT_TRUE(controller_->drain(key(2), wanted, "test")); }, 251));
  }
  EXPECT_FALSE(controller_->foresee(key(9), true));
}

TEST_F(ForeseeTest, ATableOfAnotherSize) {
  const PoolDisruption told = foresee_pool(text(kThree, 509));
  EXPECT_NEAR(told.share_moved, moved_by([&] { reload(text(kThree, 509)); }, size_t{251} * 509), 1e-9);
  EXPECT_GT(told.share_moved, 0.1);
}

TEST_F(ForeseeTest, FlowsBreakWithTheirBackendWhereTheyAreTracked) {
  const auto told = controller_->foresee(text({{1, ""}, {3, ""}}));
  ASSERT_TRUE(told) << told.error();
  EXPECT_GT(told->pools[0].flows, 0u);
  EXPECT_EQ(told->pools[0].flows_breaking * 3, told->pools[0].flows);
  EXPECT_NEAR(told->services[0].share_breaking, 1.0 / 3, 1.0 / 251);
  EXPECT_LE(told->services[0].share_breaking, told->pools[0].share_moved);
  const auto untracked = controller_->foresee(text(kThree, 251, "off"));
  EXPECT_EQ(untracked->services[0].share_breaking, 0) << "no slot moves";
  reload(text(kThree, 251, "off"));
  ASSERT_TRUE(wait_settled());
  const auto moved = controller_->foresee(text({{1, ""}, {2, ""}, {3, ", weight = 10"}}, 251, "off"));
  EXPECT_GT(moved->pools[0].share_moved, 0);
  EXPECT_EQ(moved->services[0].share_breaking, moved->pools[0].share_moved) << "nobody remembers";
}

/// Whatever no longer matches, or is hashed in another way, breaks though no slot moves.
TEST_F(ForeseeTest, FlowsBreakWithWhatTheyMatched) {
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = text(kThree);
    changed.replace(changed.find(from), from.size(), to);
    const auto told = controller_->foresee(changed);
    EXPECT_TRUE(told) << told.error();
    EXPECT_EQ(told->pools[0].share_moved, 0);
    return told->services[0].share_breaking;
  };
  EXPECT_EQ(with("203.0.113.1\"", "203.0.113.2\""), 1);
  EXPECT_EQ(with("ports = [80]", "ports = [81]"), 1);
  EXPECT_EQ(with("\"tcp\"\nports", "\"udp\"\nports"), 1);
  EXPECT_EQ(with("203.0.113.1\"", "203.0.113.0/24\""), 0) << "still covered";
  EXPECT_EQ(with("ports = [80]", "ports = [\"70-75\"]"), 1);
  EXPECT_EQ(with("ports = [80]", "ports = [80, 81]"), 0);
  EXPECT_EQ(with("name = \"s\"", "name = \"t\""), 1) << "its service is gone";
  EXPECT_NEAR(with("tracking = \"full\"", "scheduler = \"source-hash\""), 2.0 / 3, 0.001);
}

TEST_F(ForeseeTest, AllFlowsGoWithTheirPool) {
  std::string renamed = text(kThree);
  for (const std::string from : {"name = \"web\"", "pool = \"web\""})
    renamed.replace(renamed.find(from) + from.size() - 4, 3, "app");
  const auto told = controller_->foresee(renamed);
  ASSERT_TRUE(told) << told.error();
  EXPECT_EQ(told->pools[0].share_moved, 1);
  EXPECT_EQ(told->pools[0].slots_moved, 251u);
  EXPECT_EQ(told->pools[0].flows_breaking, told->pools[0].flows);
  EXPECT_EQ(told->services[0].share_breaking, 1);
}

TEST_F(ForeseeTest, ABackendThatIsDownHasNoFlowsToLose) {
  prober_.dead = {key(2).address};
  ASSERT_TRUE(run_until(
      io_,
      [this] {
        return controller_->up_to_date() &&
               read_live_tables(fake_->published.back())->backends.at(key(2)).state == LINIMO_BACKEND_DOWN;
      },
      [this] { fake_->poll(); }));
  const PoolDisruption told = foresee_pool(text({{1, ""}, {3, ""}}));
  EXPECT_EQ(told.flows, 20u) << "of the two others";
  EXPECT_EQ(told.flows_breaking, 0u);
  EXPECT_EQ(told.share_moved, 0);
}

TEST_F(ForeseeTest, AnotherSeedMovesFlowsByChance) {
  folder_.write("seed", "fedcba9876543210");
  const PoolDisruption told = foresee_pool(text(kThree));
  EXPECT_NEAR(told.share_moved, 2.0 / 3, 0.001);
  EXPECT_NEAR(static_cast<double>(told.flows_breaking) / static_cast<double>(told.flows), 2.0 / 3, 0.05);
  EXPECT_NEAR(foresee_pool(text({{1, ""}, {2, ""}, {4, ""}})).share_moved, 7.0 / 9, 0.005)
      << "to one that goes nobody comes back";
  EXPECT_EQ(foresee_pool(text({{1, ", weight = 0"}, {2, ", weight = 0"}, {3, ", weight = 0"}})).share_moved,
            1);
}

TEST_F(ForeseeTest, WhatWouldBeRefused) {
  const auto told = controller_->foresee("nonsense = 1");
  ASSERT_FALSE(told);
  EXPECT_NE(told.error().find("nonsense"), std::string::npos) << told.error();
  EXPECT_FALSE(controller_->last_error()) << "it changes nothing";
}

}  // namespace
}  // namespace linimo
