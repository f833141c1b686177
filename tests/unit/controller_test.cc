// The controller against a data plane on a real socket: nothing is published before health is known, what is
// live is taken over undisturbed, every change arrives, and either side may go and come back.

#include "controlplane/controller.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "controlplane/log.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;

Address address(int number) {
  return *Address::parse("10.0.1." + std::to_string(number));
}
BackendKey key(int number) {
  return {"web", address(number)};
}

class ControllerTest : public testing::Test {
 protected:
  ControllerTest() {
    set_log_level("error");
    folder_.write("seed", "0123456789abcdef");
    write_config({1, 2, 3});
  }

  void write_config(const std::vector<int>& backends, const std::string& more = "", int workers = 1) {
    std::string list;
    for (const int number : backends) list += "{ address = \"10.0.1." + std::to_string(number) + "\" }, ";
    const std::string folder = folder_.path().string();
    folder_.write(
        "linimo.toml",
        "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nencap_source = [\"10.0.0.11\"]\nworkers = " +
            std::to_string(workers) + "\nhash_seed_file = \"" + folder + "/seed\"\nruntime_dir = \"" +
            folder +
            "\"\n[[pool]]\nname = \"web\"\ntable_size = 251\nhealth = { type = \"tcp\", port = 80, "
            "interval = \"50ms\", timeout = \"50ms\" }\nbackends = [ " +
            list +
            "]\n[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\n"
            "ports = [80]\npool = \"web\"\n" +
            more);
  }

  Controller& start() {
    auto config = load_config(folder_.path() / "linimo.toml");
    EXPECT_TRUE(config) << config.error();
    controller_.emplace(io_, std::move(*config), prober_);
    controller_->start();
    return *controller_;
  }
  FakeDataplane& start_dataplane() { return fake_.emplace(folder_.path() / "dataplane.sock"); }

  bool wait(const std::function<bool()>& condition) {
    return run_until(io_, condition, [this] {
      if (fake_) fake_->poll();
    });
  }
  void pass(milliseconds time) {
    run_for(io_, time, [this] {
      if (fake_) fake_->poll();
    });
  }
  LiveTables last() const { return *read_live_tables(fake_->published.back()); }

  /// A snapshot as an earlier controller would have left it.
  static std::vector<std::byte> earlier(uint64_t generation, linimo_backend_state state_of_2,
                                        uint32_t weight_of_1 = 100, uint32_t weight_of_2 = 100) {
    SnapshotSpec spec;
    spec.generation = generation;
    spec.encap_source4 = *Address::parse("10.0.0.11");
    PoolSpec pool{.name = "web", .encapsulation = LINIMO_ENCAP_IPIP, .backends = {}, .table = nullptr};
    pool.backends = {{address(1), 71, weight_of_1, LINIMO_BACKEND_UP},
                     {address(2), 72, weight_of_2, state_of_2}};
    pool.table = make_pool_table(pool.backends, 251);
    spec.pools = {pool};
    return build_snapshot(spec);
  }

  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::optional<FakeDataplane> fake_;
  std::optional<Controller> controller_;
};

TEST_F(ControllerTest, PublishesOnceWhenHealthIsKnown) {
  start_dataplane();
  prober_.dead = {address(3)};
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  pass(milliseconds(100));
  ASSERT_EQ(fake_->published.size(), 1u) << "one generation for the three first verdicts";
  const LiveTables live = last();
  EXPECT_EQ(live.backends.at(key(1)).state, LINIMO_BACKEND_UP);
  EXPECT_EQ(live.backends.at(key(3)).state, LINIMO_BACKEND_DOWN);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "ids.json"));
  EXPECT_TRUE(controller_->connected());
}

TEST_F(ControllerTest, FollowsHealth) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  prober_.dead = {address(2)};
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 2; }));
  EXPECT_EQ(last().backends.at(key(2)).state, LINIMO_BACKEND_DOWN);
  prober_.dead = {};
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 3; }));
  EXPECT_EQ(last().backends.at(key(2)).state, LINIMO_BACKEND_UP);
}

TEST_F(ControllerTest, DrainsByTheOperatorsWish) {
  uint64_t rounds = 0;
  start_dataplane().count = [&](WorkerCounters& worker) {
    worker.flows_capacity = 1;
    worker.census_rounds = rounds;
  };
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  EXPECT_FALSE(controller_->drain({"web", address(9)}, true, "test"));
  EXPECT_FALSE(controller_->drain({"app", address(2)}, true, "test"));
  EXPECT_TRUE(controller_->up_to_date());
  ASSERT_TRUE(controller_->drain(key(2), true, "test"));
  EXPECT_FALSE(controller_->up_to_date()) << "that shall be so, and is not yet";
  ASSERT_TRUE(wait([&] { return controller_->up_to_date(); }));
  EXPECT_EQ(controller_->live_generation(), 2u);
  EXPECT_EQ(last().backends.at(key(2)).state, LINIMO_BACKEND_DRAINING);
  EXPECT_EQ(controller_->planner().share(key(2)), 0);
  ASSERT_TRUE(wait([&] { return controller_->drain_progress(key(2)) != nullptr; }));
  EXPECT_FALSE(controller_->drain_progress(key(2))->done) << "nobody has counted yet";

  controller_.reset();  // and starts again
  start();
  pass(milliseconds(300));
  EXPECT_EQ(fake_->published.size(), 2u) << "what is live is what is wished";
  EXPECT_TRUE(controller_->drained_by_operator(key(2)));

  prober_.dead = {address(2)};
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 3; }));
  EXPECT_EQ(last().backends.at(key(2)).state, LINIMO_BACKEND_DOWN) << "who drains may die, too";
  prober_.dead = {};
  ASSERT_TRUE(wait([&] { return last().backends.at(key(2)).state == LINIMO_BACKEND_DRAINING; }));
  ASSERT_TRUE(controller_->drain(key(2), false, "test"));
  ASSERT_TRUE(wait([&] { return last().backends.at(key(2)).state == LINIMO_BACKEND_UP; }));
}

/// What a restart would not know of is not said to be done.
TEST_F(ControllerTest, DrainsNothingThatItCannotRemember) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  const auto file = folder_.path() / "drains.json";
  std::filesystem::create_directory(file);  // nothing can be put in its place
  const auto drained = controller_->drain(key(2), true, "test");
  ASSERT_FALSE(drained);
  EXPECT_NE(drained.error().find(file.string()), std::string::npos) << drained.error();
  EXPECT_FALSE(controller_->drained_by_operator(key(2)));
  pass(milliseconds(100));
  EXPECT_EQ(controller_->live_generation(), 1u);
  std::filesystem::remove(file);
  EXPECT_TRUE(controller_->drain(key(2), true, "test"));
}

TEST_F(ControllerTest, ForgetsTheWishWithTheBackend) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  ASSERT_TRUE(controller_->drain(key(2), true, "test"));
  write_config({1, 3});
  ASSERT_TRUE(controller_->reload("test"));
  write_config({1, 2, 3});
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_FALSE(controller_->drained_by_operator(key(2)));
}

TEST_F(ControllerTest, TakesOverWhatIsLive) {
  FakeDataplane& fake = start_dataplane();
  fake.live = earlier(40, LINIMO_BACKEND_DOWN);
  fake.welcome.generation = 40;
  prober_.silent = {address(1), address(2), address(3)};
  start();
  ASSERT_TRUE(wait([&] { return controller_->connected(); }));
  pass(milliseconds(100));
  EXPECT_TRUE(fake.published.empty()) << "nothing changes until health is known";
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 41; }));
  const LiveTables live = last();
  EXPECT_EQ(live.backends.at(key(1)).id, 71u);
  EXPECT_EQ(live.backends.at(key(1)).state, LINIMO_BACKEND_UP) << "unknown is not down";
  EXPECT_EQ(live.backends.at(key(2)).id, 72u);
  EXPECT_EQ(live.backends.at(key(2)).state, LINIMO_BACKEND_DOWN);
  EXPECT_FALSE(live.backends.contains(key(3))) << "never heard of, never live: not used";
}

TEST_F(ControllerTest, PublishesNothingThatIsLiveAlready) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  controller_.reset();  // and starts again
  start();
  ASSERT_TRUE(wait([&] { return controller_->health().all_known() && controller_->connected(); }));
  pass(milliseconds(100));
  EXPECT_EQ(fake_->published.size(), 1u);
  EXPECT_EQ(controller_->live_generation(), 1u);
}

TEST_F(ControllerTest, NoticesADeathDuringItsAbsenceAfterItsChecks) {
  FakeDataplane& fake = start_dataplane();
  fake.live = earlier(40, LINIMO_BACKEND_UP);
  fake.welcome.generation = 40;
  prober_.dead = {address(2)};
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 41; }));
  EXPECT_EQ(last().backends.at(key(2)).state, LINIMO_BACKEND_UP) << "one failure is not three";
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 42; }));
  EXPECT_EQ(last().backends.at(key(2)).state, LINIMO_BACKEND_DOWN);
}

TEST_F(ControllerTest, GoesOnWithASlowStart) {
  FakeDataplane& fake = start_dataplane();
  fake.live =
      earlier(40, LINIMO_BACKEND_UP, 800, 300);  // in eighths of 100: 1 has started, 2 is at its third
  fake.welcome.generation = 40;
  write_config({1, 2});
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 41; })) << "there was no service yet";
  EXPECT_EQ(last().backends.at(key(1)).weight, 800u);
  EXPECT_EQ(last().backends.at(key(2)).weight, 300u);
  EXPECT_EQ(controller_->standing(key(2)).eighths, 3u);
}

TEST_F(ControllerTest, TakesOtherWeightsForAChangeOfTheConfiguration) {
  FakeDataplane& fake = start_dataplane();
  fake.live = earlier(40, LINIMO_BACKEND_UP, 100, 300);
  fake.welcome.generation = 40;
  write_config({1, 2});
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 41; }));
  EXPECT_EQ(last().backends.at(key(2)).weight, 100u);
  EXPECT_EQ(controller_->standing(key(2)).eighths, 8u);
}

TEST_F(ControllerTest, CatchesUpADataPlaneThatComesBack) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  const auto bytes = fake_->published.back();
  fake_.reset();
  ASSERT_TRUE(wait([&] { return !controller_->connected(); }));
  start_dataplane().welcome.pid = 4712;
  ASSERT_TRUE(wait([&] { return !fake_->published.empty() && controller_->live_generation() == 2; }));
  EXPECT_TRUE(same_tables(bytes, fake_->published.back()));
}

TEST_F(ControllerTest, WorksWithoutADataPlaneUntilThereIsOne) {
  start();
  ASSERT_TRUE(wait([&] { return controller_->health().all_known(); }));
  EXPECT_FALSE(controller_->connected());
  start_dataplane();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
}

TEST_F(ControllerTest, ReloadsAndKeepsIds) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  const LiveTables before = last();
  write_config({2, 3, 4});
  ASSERT_TRUE(controller_->reload("test"));
  ASSERT_TRUE(wait([&] { return last().backends.contains(key(4)); }));
  const LiveTables after = last();
  EXPECT_EQ(after.backends.at(key(2)).id, before.backends.at(key(2)).id);
  EXPECT_NE(after.backends.at(key(4)).id, before.backends.at(key(1)).id);
  EXPECT_FALSE(after.backends.contains(key(1)));
  write_config({1, 2, 3, 4});
  ASSERT_TRUE(controller_->reload("test"));
  ASSERT_TRUE(wait([&] { return last().backends.contains(key(1)); }));
  EXPECT_EQ(last().backends.at(key(1)).id, before.backends.at(key(1)).id) << "it returned";
}

TEST_F(ControllerTest, LeavesAllAsItIsWhenAReloadIsRefused) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  write_config({1, 2}, "nonsense = 1\n");
  const auto reloaded = controller_->reload("test");
  ASSERT_FALSE(reloaded);
  EXPECT_NE(reloaded.error().find("unknown key \"nonsense\""), std::string::npos);
  EXPECT_EQ(controller_->last_error(), reloaded.error());
  pass(milliseconds(100));
  EXPECT_EQ(fake_->published.size(), 1u);
  EXPECT_EQ(controller_->config().pools[0].backends.size(), 3u);
  write_config({1, 2, 3});
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_FALSE(controller_->last_error());
}

/// The running configuration stays, and all that was going on goes on.
TEST_F(ControllerTest, OutlivesAReloadThatMemoryIsTooSmallFor) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  write_config({1, 2, 3}, [&] {
    std::string more = "[[pool]]\nname = \"large\"\nbackends = [";
    for (int i = 0; i < 60'000; ++i) {
      more += "{ address = \"10." + std::to_string(1 + i / 62500) + "." + std::to_string(i / 250 % 250) +
              "." + std::to_string(i % 250) + "\" },\n";
    }
    return more + "]\n";
  }());
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  const rlim_t taken = pages * static_cast<rlim_t>(getpagesize());
  if (taken > rlim_t{1} << 40) GTEST_SKIP() << "a sanitizer has taken the addresses that are to run out";
  const rlimit tight{taken + (16 << 20), before.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  const auto reloaded = controller_->reload("test");
  setrlimit(RLIMIT_AS, &before);
  ASSERT_FALSE(reloaded);
  EXPECT_NE(reloaded.error().find("out of memory"), std::string::npos) << reloaded.error();
  EXPECT_EQ(controller_->last_error(), reloaded.error());
  EXPECT_EQ(controller_->config().pools.size(), 1u);
  prober_.dead = {address(2)};
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 2; })) << "checks go on";
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_EQ(controller_->config().pools.size(), 2u);
}

TEST_F(ControllerTest, PassesQuestionsOnToTheDataPlaneAndWhatItTells) {
  start_dataplane().welcome.features = protocol::kTraces | protocol::kFlows | protocol::kCaptures;
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  size_t answers = 0;
  const auto count = [&answers](const auto&) { ++answers; };
  controller_->trace({}, count);
  controller_->find_flows({}, count);
  controller_->capture({}, UniqueFd(eventfd(0, EFD_CLOEXEC)), count);
  ASSERT_TRUE(wait([&] { return fake_->asked_to_capture.size() == 1; }));
  EXPECT_EQ(fake_->asked.size() + fake_->asked_for_flows.size(), 2u);
  EXPECT_EQ(controller_->way_problem(key(2)), nullptr);
  protocol::HandOver hand_over;
  hand_over.limit_ms = 60'000;
  fake_->send(hand_over);
  protocol::NextHops hops;
  hops.first_id = last().backends.at(key(2)).id;
  hops.states[0] = 1 + LINIMO_NEXT_HOP_NO_ROUTE;
  fake_->send(hops);
  ASSERT_TRUE(wait([&] { return controller_->way_problem(key(2)) != nullptr; }));
  fake_.reset();
  ASSERT_TRUE(wait([&] { return answers == 3; })) << "nobody will answer";
  const auto& conditions = controller_->watch().conditions().all();
  EXPECT_TRUE(wait([&] {
    return conditions.at({"dataplane-alive", ""}).evidence == "it hands over to a new process";
  }));
}

TEST_F(ControllerTest, PublishesAnewWhereWhatIsLiveCannotBeRead) {
  FakeDataplane& fake = start_dataplane();
  fake.live = std::vector<std::byte>(500);
  fake.welcome.generation = 40;
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 41; }));
  EXPECT_EQ(last().backends.size(), 3u);
}

TEST_F(ControllerTest, SaysWhatWaitsForARestart) {
  start_dataplane();
  start();
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  write_config({1, 2, 3}, "", 2);
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_EQ(controller_->restart_needed(), std::vector<std::string>{"workers"});
  fake_.reset();
  ASSERT_TRUE(wait([&] { return !controller_->connected(); }));
  start_dataplane().welcome.pid = 4712;  // it has read the file anew
  ASSERT_TRUE(wait([&] { return controller_->connected(); }));
  EXPECT_TRUE(controller_->restart_needed().empty());
  write_config({1, 2, 3}, "", 3);
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_EQ(controller_->restart_needed(), std::vector<std::string>{"workers"});
  fake_->drop();  // it starts anew by itself: the same process, with other counters
  ASSERT_TRUE(wait([&] { return controller_->restart_needed().empty(); }));
}

TEST_F(ControllerTest, RemembersARefusal) {
  start_dataplane().manner = FakeDataplane::Manner::kRefuse;
  start();
  ASSERT_TRUE(wait([&] { return !controller_->last_refusal().empty(); }));
  EXPECT_EQ(controller_->last_refusal(), "not today");
  EXPECT_EQ(controller_->live_generation(), 0u);
  fake_->manner = FakeDataplane::Manner::kWell;
  prober_.dead = {address(1)};  // any change is another attempt
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  EXPECT_EQ(controller_->last_refusal(), "");
}

}  // namespace
}  // namespace linimo
