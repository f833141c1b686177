// What announcing stands on: our routes in the kernel told from others', BIRD's words, and what the live
// tables say of VIPs. The kernel is asked in a network namespace of this test's own.

#include <cerrno>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "controlplane/announce/bird_sessions.h"
#include "controlplane/announce/live_services.h"
#include "controlplane/announce/reconcile.h"
#include "controlplane/log.h"
#include "tests/unit/fake_dataplane.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

constexpr uint32_t kTable = 77;
constexpr uint32_t kLargeTable = 77'000;
constexpr uint32_t kLo = 1;

VipRoute route(const char* vip, uint32_t metric = 100) {
  return {*Prefix::parse(vip), metric, kLo};
}

class KernelRoutesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (unshare(CLONE_NEWNET) != 0)
      GTEST_SKIP() << "no network namespace of its own: " << std::strerror(errno);
    ip("link set lo up");
    kernel_.emplace();
  }
  static void ip(const std::string& arguments) {
    ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << arguments;
  }

  std::optional<KernelRoutes> kernel_;
};

TEST_F(KernelRoutesTest, ATableThatIsNotThereIsEmpty) {
  const auto routes = kernel_->read(kTable);
  ASSERT_TRUE(routes);
  EXPECT_TRUE(routes->empty());
}

TEST_F(KernelRoutesTest, MakesTheTableWhatIsWanted) {
  for (const uint32_t table : {kTable, kLargeTable}) {
    const std::set<VipRoute> first{route("203.0.113.10"), route("203.0.113.128/25"), route("2001:db8:f::10"),
                                   route("2001:db8:e::/48"), route("0.0.0.0/0")};
    Reconciled done = reconcile(*kernel_, table, first, true);
    EXPECT_EQ(done.failure, "");
    EXPECT_EQ(done.present, first);
    EXPECT_EQ(*kernel_->read(table), first) << "as the kernel has it";
    const std::set<VipRoute> second{route("203.0.113.10", 200), route("2001:db8:f::10", 200)};
    done = reconcile(*kernel_, table, second, true);
    EXPECT_EQ(done.failure, "");
    EXPECT_EQ(*kernel_->read(table), second);
    EXPECT_EQ(done.added.size(), 2u);
    EXPECT_EQ(done.removed.size(), 5u);
    done = reconcile(*kernel_, table, second, true);
    EXPECT_TRUE(done.added.empty() && done.removed.empty()) << "what is so already is left alone";
  }
}

TEST_F(KernelRoutesTest, LeavesOthersRoutesAlone) {
  ip("route add 198.51.100.0/24 dev lo table 77 proto static");
  ip("route add 203.0.113.10 dev lo table 77 proto static metric 50");
  ip("route add 203.0.113.11 dev lo table 77 proto static metric 100");
  ip("route add 2001:db8:f::10 dev lo table 77 proto static metric 50");
  ip("route add 203.0.113.10 dev lo table 78 proto 77");
  const std::string others =
      "test $(ip route show table 77 proto static | wc -l) = 3 && "
      "test $(ip -6 route show table 77 proto static | wc -l) = 1 && test $(ip route show table 78 | wc -l) "
      "= 1";
  const std::set<VipRoute> wanted{route("203.0.113.10"), route("2001:db8:f::10")};
  EXPECT_EQ(reconcile(*kernel_, kTable, wanted, true).failure, "");
  EXPECT_EQ(*kernel_->read(kTable), wanted);
  EXPECT_EQ(std::system(others.c_str()), 0);
  EXPECT_EQ(reconcile(*kernel_, kTable, {}, true).present.size(), 0u);
  EXPECT_EQ(std::system(others.c_str()), 0);
  const Reconciled in_the_way = reconcile(*kernel_, kTable, {route("203.0.113.11")}, true);
  EXPECT_EQ(in_the_way.failure, "add 203.0.113.11: another's route of that metric is there");
  EXPECT_EQ(std::system(others.c_str()), 0);
}

TEST_F(KernelRoutesTest, FollowsAnotherDevice) {
  ip("link add other type veth peer name end && ip link set other up && ip link set end up");
  const uint32_t other = if_nametoindex("other");
  const std::set<VipRoute> before{route("203.0.113.10"), route("2001:db8:f::10")};
  reconcile(*kernel_, kTable, before, true);
  std::set<VipRoute> wanted;
  for (VipRoute of : before) {
    of.device = other;
    wanted.insert(of);
  }
  EXPECT_EQ(reconcile(*kernel_, kTable, wanted, true).failure, "");
  EXPECT_EQ(*kernel_->read(kTable), wanted);
}

TEST_F(KernelRoutesTest, AddsNothingNewWhereItMayNot) {
  reconcile(*kernel_, kTable, {route("203.0.113.10"), route("203.0.113.11")}, true);
  const std::set<VipRoute> wanted{route("203.0.113.10", 200), route("203.0.113.12", 200)};
  const Reconciled done = reconcile(*kernel_, kTable, wanted, false);
  EXPECT_EQ(done.failure, "");
  EXPECT_EQ(done.present, (std::set<VipRoute>{route("203.0.113.10", 200)}));
}

TEST_F(KernelRoutesTest, KeepsARouteWhoseSuccessorFails) {
  reconcile(*kernel_, kTable, {route("203.0.113.10")}, true);
  ip("route add 203.0.113.10 dev lo table 77 proto static metric 200");
  const Reconciled done = reconcile(*kernel_, kTable, {route("203.0.113.10", 200)}, true);
  EXPECT_NE(done.failure, "");
  EXPECT_EQ(*kernel_->read(kTable), (std::set<VipRoute>{route("203.0.113.10")}));
}

constexpr std::string_view kAnswer =
    "0001 BIRD 2.0.12 ready.\n"
    "2002-Name       Proto      Table      State  Since         Info\n"
    "1002-device1    Device     ---        up     12:00:00.000  \n"
    " tor1       BGP        ---        up     2026-01-31 12:00:00  Established   \n"
    " tor2       BGP        ---        start  12:00:00.000  Active        Socket: Connection refused\n"
    " bfd1       BFD        ---        up     12:00:00.000  \n"
    "1002-tor3       BGP        ---        down   12:00:00.000  \n"
    "0000 \n";

constexpr std::string_view kBfdAnswer =
    "1020-bfd1:\n"
    " IP address                Interface  State      Since         Interval  Timeout\n"
    " 10.0.0.1                  linimo0    Up         16:00:01.123    0.060    0.180\n"
    " 2001:db8::1               linimo0    Down       16:00:01.123    0.060    0.000\n"
    "0000 \n";

TEST(BirdSessionsTest, ReadsProtocols) {
  const std::vector<BgpSession> expected{{"tor1", true, "Established"},
                                         {"tor2", false, "Active        Socket: Connection refused"},
                                         {"tor3", false, ""}};
  EXPECT_EQ(read_protocols(kAnswer), expected);
  EXPECT_TRUE(read_protocols("").empty());
  EXPECT_TRUE(read_protocols(" tor1 BGP --- up now Established\n0000 \n").empty()) << "not in a list";
  for (size_t length = 0; length < kAnswer.size(); ++length) (void)read_protocols(kAnswer.substr(0, length));
}

TEST(BirdSessionsTest, ReadsBfdSessions) {
  const std::vector<BfdSession> expected{{"10.0.0.1", "linimo0", true, "Up"},
                                         {"2001:db8::1", "linimo0", false, "Down"}};
  EXPECT_EQ(read_bfd_sessions(kBfdAnswer), expected);
  EXPECT_TRUE(read_bfd_sessions("1020-bfd1: is not up\n0000 \n").empty());
  EXPECT_TRUE(read_bfd_sessions("9001 there is no BFD\n").empty());
  for (size_t length = 0; length < kBfdAnswer.size(); ++length)
    (void)read_bfd_sessions(kBfdAnswer.substr(0, length));
  std::string many = "1020-bfd1:\n";
  for (int i = 0; i < 1000; ++i) many += " 10.0.0." + std::to_string(i % 256) + " eth0 Up 12:00:00 0.1 0.3\n";
  EXPECT_EQ(read_bfd_sessions(many).size(), kMaxSessions);
}

TEST(BirdSessionsTest, TellsWhomBfdDoesNotHearThoughBgpIsUp) {
  BirdState bird{
      "", {{"tor1", true, ""}}, {{"10.0.0.1", "eth0", true, "Up"}, {"10.0.1.1", "eth1", false, "Init"}}};
  EXPECT_EQ(unheard_by_bfd(bird), "10.0.1.1 on eth1: Init");
  bird.sessions.push_back({"tor2", false, ""});
  EXPECT_EQ(unheard_by_bfd(bird), "") << "it may be that router's";
  EXPECT_EQ(unheard_by_bfd({"BIRD does not answer", {}, {}}), "");
}

/// Says what it is told to, to whoever connects and asks.
class FakeBird {
 public:
  explicit FakeBird(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(listener_.get(), 4), 0);
  }

  std::string answer{kAnswer};
  int asked = 0;

  void poll() {
    if (const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); fd >= 0)
      peer_.reset(fd);
    if (!peer_) return;
    char question[64] = {};
    if (recv(peer_.get(), question, sizeof question - 1, 0) <= 0) return;
    const bool bfd = question == std::string_view("show bfd sessions\n");
    EXPECT_TRUE(bfd || question == std::string_view("show protocols\n")) << question;
    ++asked;
    const std::string_view says = bfd ? kBfdAnswer : answer;
    size_t sent = 0;
    while (sent < says.size()) {  // in pieces
      const ssize_t length =
          ::send(peer_.get(), says.data() + sent, std::min<size_t>(100, says.size() - sent), MSG_NOSIGNAL);
      if (length < 0) return;
      sent += static_cast<size_t>(length);
    }
  }

 private:
  UniqueFd listener_;
  UniqueFd peer_;
};

TEST(BirdSessionsTest, AsksAgainAndAgain) {
  TemporaryFolder folder;
  FakeBird fake(folder.path() / "bird.ctl");
  boost::asio::io_context io;
  int changes = 0;
  BirdSessions bird(io, [&] { ++changes; });
  bird.follow(folder.path() / "bird.ctl");
  ASSERT_TRUE(run_until(
      io, [&] { return bird.state().error.empty(); }, [&] { fake.poll(); }));
  EXPECT_EQ(bird.state().sessions.size(), 3u);
  EXPECT_TRUE(bird.state().sessions[0].up);
  EXPECT_EQ(bird.state().bfd.size(), 2u);
  ASSERT_TRUE(run_until(
      io, [&] { return fake.asked >= 4; }, [&] { fake.poll(); }));
  EXPECT_EQ(changes, 1);
  fake.answer = "0001 BIRD ready.\n0000 \n";
  ASSERT_TRUE(run_until(
      io, [&] { return bird.state().sessions.empty(); }, [&] { fake.poll(); }));
  EXPECT_EQ(changes, 2);
}

TEST(BirdSessionsTest, IsNotHeldUpByWhatIsNoBird) {
  TemporaryFolder folder;
  FakeBird fake(folder.path() / "bird.ctl");
  boost::asio::io_context io;
  BirdSessions bird(io, [] {});
  bird.follow(folder.path() / "nobody.ctl");
  ASSERT_TRUE(run_until(io, [&] { return bird.state().error == "No such file or directory"; }));
  fake.answer = std::string(100'000, 'x');
  bird.follow(folder.path() / "bird.ctl");
  const auto silent = [&] { return bird.state().error == "BIRD does not answer"; };
  EXPECT_TRUE(run_until(io, silent, [&] { fake.poll(); })) << bird.state().error;
}

TEST(LiveServicesTest, CountsWhoIsAliveInTablesAndByChecks) {
  SnapshotSpec spec;
  spec.encap_source4 = *Address::parse("10.0.0.11");
  PoolSpec pool{.name = "web", .backends = {}, .table = nullptr};
  pool.backends = {{*Address::parse("10.0.1.1"), 1, 100, LINIMO_BACKEND_UP},
                   {*Address::parse("10.0.1.2"), 2, 100, LINIMO_BACKEND_DRAINING},
                   {*Address::parse("10.0.1.3"), 3, 100, LINIMO_BACKEND_DOWN}};
  pool.table = make_pool_table(pool.backends, 251);
  spec.pools = {pool};
  ServiceSpec service;
  service.name = "web";
  service.vips = {*Prefix::parse("203.0.113.10"), *Prefix::parse("2001:db8:f::/64")};
  service.ports = {{80, 80}, {443, 443}};
  spec.services = {service};
  const auto bytes = build_snapshot(spec);
  const auto live = live_services(*SnapshotView::validate(bytes));
  ASSERT_EQ(live.size(), 1u);
  EXPECT_EQ(live[0].pool, "web");
  EXPECT_EQ(live[0].alive, 2u);
  EXPECT_EQ(live[0].vips.size(), 2u);
  const auto alive = [&](std::optional<uint32_t> healthy) {
    const auto served = served_vips(live, [&](const std::string& name) {
      EXPECT_EQ(name, "web");
      return healthy;
    });
    EXPECT_EQ(served.size(), 2u);
    return served[0].alive;
  };
  EXPECT_EQ(alive(3), 2u) << "a backend that the tables do not use yet does not count";
  EXPECT_EQ(alive(1), 1u) << "nor one that is dead and still used";
  EXPECT_EQ(alive(0), 0u);
  EXPECT_EQ(alive(std::nullopt), 2u);
}

}  // namespace
}  // namespace linimo
