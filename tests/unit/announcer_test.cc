// The controller announces: a data plane on a real socket, checks whose verdicts the test decides, and the
// kernel's routes in a network namespace of this test's own.

#include "controlplane/announce/announcer.h"

#include <cstring>

#include <gtest/gtest.h>
#include <sched.h>

#include "controlplane/controller.h"
#include "controlplane/log.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/fake_prober.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using std::chrono::milliseconds;
using Vips = std::map<std::string, uint32_t>;  // metrics

const Address kBackend = *Address::parse("10.0.1.1");

class AnnouncerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (unshare(CLONE_NEWNET) != 0)
      GTEST_SKIP() << "no network namespace of its own: " << std::strerror(errno);
    ASSERT_EQ(std::system("ip link set lo up"), 0);
    kernel_.emplace();
    set_log_level("error");
    folder_.write("seed", "0123456789abcdef");
    fake_.emplace(folder_.path() / "dataplane.sock");
    fake_->device = "lo";
  }

  void write_config(const std::string& announce) {
    const std::string folder = folder_.path().string();
    folder_.write(
        "linimo.toml",
        "[node]\nname = \"lb1\"\ninterfaces = [\"lo\"]\nencap_source = [\"10.0.0.11\"]\nhash_seed_file = \"" +
            folder + "/seed\"\nruntime_dir = \"" + folder + "\"\n" + announce +
            "[[pool]]\nname = \"web\"\ntable_size = 251\nhealth = { type = \"tcp\", port = 80, "
            "interval = \"200ms\", timeout = \"200ms\", fall = 1, rise = 1 }\nbackends = [ { address = "
            "\"10.0.1.1\" } ]\n[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\", "
            "\"2001:db8:f::1\"]\nprotocol = \"tcp\"\nports = [80]\npool = \"web\"\n");
  }
  static std::string section(const std::string& more = "") {
    return "[announce]\nvia = \"bird\"\nbird_socket = \"/nonexistent\"\n" + more;
  }

  Controller& start(const std::string& announce) {
    write_config(announce);
    auto config = load_config(folder_.path() / "linimo.toml");
    EXPECT_TRUE(config) << config.error();
    controller_.emplace(io_, std::move(*config), prober_);
    controller_->start();
    return *controller_;
  }
  bool wait(const std::function<bool()>& condition) {
    return run_until(io_, condition, [this] { fake_->poll(); });
  }
  void pass(milliseconds time) {
    run_for(io_, time, [this] { fake_->poll(); });
  }
  Vips in_kernel() {
    Vips vips;
    const auto routes = kernel_->read(77);  // named: it has to outlive the loop
    for (const VipRoute& route : *routes) vips[route.vip.to_string()] = route.metric;
    return vips;
  }
  bool wait_for(const Vips& vips) {
    return wait([&] { return in_kernel() == vips; });
  }
  void announced_before() {
    ASSERT_EQ(reconcile(*kernel_, 77, {{*Prefix::parse("203.0.113.1"), 100, 1}}, true).failure, "");
  }

  const Vips both_{{"203.0.113.1", 100}, {"2001:db8:f::1", 100}};
  TemporaryFolder folder_;
  boost::asio::io_context io_;
  FakeProber prober_{io_};
  std::optional<FakeDataplane> fake_;
  std::optional<KernelRoutes> kernel_;
  std::optional<Controller> controller_;
};

TEST_F(AnnouncerTest, AnnouncesWhatTheDataPlaneHasAcknowledged) {
  fake_->manner = FakeDataplane::Manner::kSilent;
  start(section());
  ASSERT_TRUE(wait([&] { return !fake_->published.empty(); }));
  pass(milliseconds(50));
  EXPECT_EQ(in_kernel(), Vips{}) << "handed over is not acknowledged";
  protocol::Accepted accepted;
  accepted.generation = 1;
  fake_->send(accepted);
  EXPECT_TRUE(wait_for(both_));
}

TEST_F(AnnouncerTest, FollowsItsBackends) {
  start(section());
  ASSERT_TRUE(wait_for(both_));
  prober_.dead = {kBackend};
  EXPECT_TRUE(wait_for({}));
  prober_.dead = {};
  EXPECT_TRUE(wait_for(both_));
}

TEST_F(AnnouncerTest, LeavesAnEarlierProcessesRoutesUntilItKnows) {
  start(section());
  ASSERT_TRUE(wait_for(both_));
  controller_.reset();
  EXPECT_EQ(in_kernel(), both_) << "the end of a control plane changes nothing";
  prober_.silent = {kBackend};
  start(section());
  ASSERT_TRUE(wait([&] { return controller_->connected(); }));
  pass(milliseconds(300));
  ASSERT_FALSE(controller_->health().all_known());
  EXPECT_EQ(in_kernel(), both_);
}

TEST_F(AnnouncerTest, AnnouncesNothingNewUntilItKnowsOrTheDeadline) {
  for (const bool deadline : {false, true}) {
    prober_.silent = {};
    start(section());
    ASSERT_TRUE(wait_for(both_));
    controller_.reset();
    reconcile(*kernel_, 77, {}, true);
    prober_.silent = {kBackend};
    start(section(deadline ? "startup_deadline = \"100ms\"\n" : ""));
    ASSERT_TRUE(wait([&] { return controller_->connected(); }));
    pass(milliseconds(300));
    ASSERT_EQ(controller_->health().all_known(), deadline);
    EXPECT_EQ(in_kernel(), deadline ? both_ : Vips{});
    controller_.reset();
    reconcile(*kernel_, 77, {}, true);
  }
}

TEST_F(AnnouncerTest, AnnouncesNothingNewWithoutADataPlane) {
  start(section());
  ASSERT_TRUE(wait_for(both_));
  fake_.reset();
  ASSERT_TRUE(run_until(io_, [&] { return !controller_->connected(); }));
  reconcile(*kernel_, 77, {{*Prefix::parse("203.0.113.1"), 100, 1}},
            true);  // one goes, with a device for example
  run_for(io_, milliseconds(1200));
  EXPECT_EQ(in_kernel(), (Vips{{"203.0.113.1", 100}}));
  prober_.dead = {kBackend};
  EXPECT_TRUE(run_until(io_, [&] { return in_kernel().empty(); })) << "it does withdraw";
}

TEST_F(AnnouncerTest, WithoutTheSectionItTouchesNothing) {
  announced_before();
  start("");
  ASSERT_TRUE(wait([&] { return controller_->live_generation() == 1; }));
  pass(milliseconds(50));
  EXPECT_EQ(in_kernel(), (Vips{{"203.0.113.1", 100}}));
  EXPECT_FALSE(controller_->announcer().drain("test"));
}

TEST_F(AnnouncerTest, TakesReloadsOver) {
  start(section());
  ASSERT_TRUE(wait_for(both_));
  write_config(section("metric = 50\n"));
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_TRUE(wait_for({{"203.0.113.1", 50}, {"2001:db8:f::1", 50}}));
  write_config(section("table = 78\n"));
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_TRUE(wait_for({}));
  EXPECT_TRUE(wait([&] { return kernel_->read(78)->size() == 2; }));
  write_config("");
  ASSERT_TRUE(controller_->reload("test"));
  EXPECT_TRUE(kernel_->read(78)->empty());
}

TEST_F(AnnouncerTest, RemembersADrain) {
  const std::string announce = section("drain_wait = \"100ms\"\n");
  start(announce);
  ASSERT_TRUE(wait_for(both_));
  ASSERT_TRUE(controller_->announcer().drain("test"));
  EXPECT_EQ(in_kernel(), (Vips{{"203.0.113.1", 200}, {"2001:db8:f::1", 200}})) << "at once";
  EXPECT_TRUE(wait_for({}));
  controller_.reset();
  start(announce);
  ASSERT_TRUE(wait([&] { return controller_->connected() && controller_->health().all_known(); }));
  pass(milliseconds(200));
  EXPECT_EQ(in_kernel(), Vips{});
  ASSERT_TRUE(controller_->announcer().undrain("test"));
  EXPECT_TRUE(wait_for(both_));
}

}  // namespace
}  // namespace linimo
