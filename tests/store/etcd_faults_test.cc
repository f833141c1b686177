// What becomes of the store engine `etcd` when real members die, freeze, lose their quorum, compact, forget
// tokens, lag or are emptied.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controlplane/store/etcd_store.h"
#include "tests/store/asking.h"
#include "tests/store/cluster.h"

namespace linimo {
namespace {

using testing::HasSubstr;

Asking::Make engine(const EtcdConfig& config) {
  return [config](boost::asio::io_context& io) { return make_etcd_store(io, config); };
}

EtcdConfig config_of(const Cluster& cluster) {
  EtcdConfig config;
  config.endpoints = cluster.endpoints();
  config.timeout = milliseconds(1000);
  return config;
}

void go_to(Asking& asking, const std::string& endpoint) {
  for (int i = 0; i < 5 && asking.store->endpoint() != endpoint; ++i) asking.store->change_endpoint();
}

void wait_for_quorum(Asking& asking) {
  ASSERT_TRUE(asking.until(
      [&] {
        const bool there = asking.read("").has_value();
        if (!there) asking.store->change_endpoint();
        return there;
      },
      seconds(20)));
}

TEST(EtcdFaults, AnotherMemberAnswersForOneThatWasKilled) {
  Cluster cluster(3);
  Asking asking(engine(config_of(cluster)));
  wait_for_quorum(asking);
  go_to(asking, cluster.endpoint(0));
  ASSERT_TRUE(asking.until([&] { return asking.put("k", "1").has_value(); }));
  const auto lease = asking.grant(seconds(10));
  ASSERT_TRUE(lease) << lease.error();
  const auto watched = asking.watch("k", asking.read("k")->revision + 1);
  cluster.kill(0);
  ASSERT_TRUE(asking.until([&] { return !watched->end.empty(); }));
  EXPECT_THAT(watched->end, HasSubstr(cluster.endpoint(0)));
  const auto read = asking.read("k");
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error(), HasSubstr("code 14"));
  asking.store->change_endpoint();
  ASSERT_TRUE(asking.until([&] { return asking.keep(lease->id).has_value(); }));
  EXPECT_EQ(asking.read("k")->entries[0].value, "1");
}

TEST(EtcdFaults, AFrozenMemberIsNoticedByItsKeepAliveAndLeftByAll) {
  Cluster cluster(3);
  Asking asking(engine(config_of(cluster)));
  wait_for_quorum(asking);
  go_to(asking, cluster.endpoint(1));
  ASSERT_TRUE(asking.until([&] { return asking.put("k", "1").has_value(); }));
  const auto lease = asking.grant(seconds(20));
  ASSERT_TRUE(lease) << lease.error();
  const auto watched = asking.watch("k", asking.read("k")->revision + 1);
  ASSERT_TRUE(asking.put("k", "seen"));
  ASSERT_TRUE(asking.until([&] { return watched->text() == "k=seen"; })) << watched->end;
  cluster.freeze(1);
  const auto late = asking.keep(lease->id);
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error(), HasSubstr("code 4"));
  EXPECT_EQ(watched->end, "") << "the watch itself notices nothing";
  asking.store->change_endpoint();
  ASSERT_TRUE(asking.until([&] { return asking.keep(lease->id).has_value(); }));
  const auto elsewhere = asking.watch("k", asking.read("k")->revision + 1);
  ASSERT_TRUE(asking.until([&] { return asking.put("k", "2").has_value(); }));
  EXPECT_TRUE(asking.until([&] { return elsewhere->text() == "k=2"; }));
  EXPECT_EQ(watched->text(), "k=seen");
  cluster.thaw(1);
}

TEST(EtcdFaults, AMemberWithoutQuorumEndsItsWatchAndSaysSo) {
  Cluster cluster(3);
  Asking asking(engine(config_of(cluster)));
  wait_for_quorum(asking);
  go_to(asking, cluster.endpoint(2));
  ASSERT_TRUE(asking.until([&] { return asking.put("k", "1").has_value(); }));
  const auto watched = asking.watch("k", asking.read("k")->revision + 1);
  cluster.kill(0);
  cluster.kill(1);
  ASSERT_TRUE(asking.until([&] { return !watched->end.empty(); }));
  EXPECT_THAT(watched->end, HasSubstr("no leader"));
  EXPECT_FALSE(asking.read("k"));
  cluster.start(0);
  ASSERT_TRUE(asking.until([&] { return asking.read("k").has_value(); }, seconds(20)));
  EXPECT_EQ(asking.read("k")->entries[0].value, "1");
}

TEST(EtcdFaults, ACompactedWatchEndsAndReadingGoesOn) {
  Cluster cluster(1);
  Asking asking(engine(config_of(cluster)));
  wait_for_quorum(asking);
  const auto first = asking.put("k", "1");
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(asking.put("k", std::to_string(i)));
  const int64_t now = asking.read("k")->revision;
  const auto keeps_all = [&] {
    return asking.answer<bool>([&](auto done) { asking.store->keeps_all("k", done); });
  };
  EXPECT_EQ(keeps_all(), true) << "nothing was compacted yet";
  const Ran compacted = cluster.ctl("compact " + std::to_string(now));
  ASSERT_EQ(compacted.code, 0) << compacted.output;
  EXPECT_EQ(keeps_all(), false);
  const auto watched = asking.watch("k", first->revision);
  ASSERT_TRUE(asking.until([&] { return !watched->end.empty(); }));
  EXPECT_THAT(watched->end, HasSubstr("compacted away"));
  const auto read = asking.read("k");
  const auto again = asking.watch("k", read->revision + 1);
  ASSERT_TRUE(asking.put("k", "last"));
  EXPECT_TRUE(asking.until([&] { return again->text() == "k=last"; })) << again->end;
}

class WithUsers : public testing::Test {
 protected:
  WithUsers() : cluster_(1), config_(config_of(cluster_)) {
    Asking asking(engine(config_));
    wait_for_quorum(asking);
    for (const char* command : {"user add root:rootpw", "user grant-role root root", "role add fleet",
                                "role grant-permission fleet readwrite --prefix=true /linimo/",
                                "user add linimo:secret", "user grant-role linimo fleet", "auth enable"}) {
      const Ran ran = cluster_.ctl(command);
      if (ran.code != 0) ADD_FAILURE() << command << ": " << ran.output;
    }
    config_.user = "linimo";
    config_.password = "secret";
  }

  Cluster cluster_;
  EtcdConfig config_;
};

TEST_F(WithUsers, AForgottenTokenIsRenewedByItself) {
  Asking asking(engine(config_));
  const auto put = asking.put("/linimo/k", "1");
  ASSERT_TRUE(put) << put.error();
  cluster_.kill(0);  // tokens are in its memory alone
  cluster_.start(0);
  ASSERT_TRUE(asking.until([&] { return asking.read("/linimo/").has_value(); }, seconds(20)));
  const auto watched = asking.watch("/linimo/", asking.read("/linimo/")->revision + 1);
  ASSERT_TRUE(asking.put("/linimo/k", "2"));
  EXPECT_TRUE(asking.until([&] { return watched->text() == "/linimo/k=2"; })) << watched->end;
}

TEST_F(WithUsers, AChangeOfUsersCostsNothingButATokenOfItsOwn) {
  Asking asking(engine(config_));
  ASSERT_TRUE(asking.put("/linimo/k", "1"));
  const Ran ran = cluster_.ctl("user add another:x", 0, "--user=root:rootpw");
  ASSERT_EQ(ran.code, 0) << ran.output;
  const auto put = asking.put("/linimo/k", "2");
  EXPECT_TRUE(put && put->done) << put.error();
}

TEST_F(WithUsers, AWrongPasswordAndAForbiddenKeyAreNamed) {
  Asking asking(engine(config_));
  const auto forbidden = asking.put("/other", "1");
  ASSERT_FALSE(forbidden);
  EXPECT_THAT(forbidden.error(), HasSubstr("permission denied"));
  config_.password = "wrong";
  Asking stranger(engine(config_));
  const auto put = stranger.put("/linimo/k", "1");
  ASSERT_FALSE(put);
  EXPECT_THAT(put.error(), HasSubstr("user linimo is not let in"));
  EXPECT_THAT(put.error(), HasSubstr("invalid user ID or password"));
  config_.user.clear();
  Asking nobody(engine(config_));
  EXPECT_FALSE(nobody.put("/linimo/k", "1"));
}

TEST(EtcdFaults, AMemberThatLagsNeverAnswersWithThePast) {
  Cluster cluster(3);
  Asking asking(engine(config_of(cluster)));
  wait_for_quorum(asking);
  go_to(asking, cluster.endpoint(0));
  ASSERT_TRUE(asking.until([&] { return asking.put("k", "old").has_value(); }));
  cluster.freeze(2);
  ASSERT_TRUE(asking.until([&] { return asking.put("k", "new").has_value(); }));
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(asking.put("more", std::to_string(i)));
  const int64_t now = asking.read("k")->revision;
  go_to(asking, cluster.endpoint(2));
  cluster.thaw(2);
  ASSERT_TRUE(asking.until([&] {
    const auto read = asking.read("k");
    if (!read) return false;
    EXPECT_GE(read->revision, now);
    EXPECT_EQ(read->entries[0].value, "new");
    return true;
  }));
}

TEST(EtcdFaults, AnEmptiedStoreIsToldOfKeyByKey) {
  Cluster cluster(1);
  Asking asking(engine(config_of(cluster)));
  wait_for_quorum(asking);
  const auto put = asking.transact({{}, {{"a/1", "x"}, {"a/2", "x"}}, {}});
  const auto watched = asking.watch("a/", put->revision + 1);
  ASSERT_EQ(cluster.ctl("del --prefix \"\"").code, 0);
  ASSERT_TRUE(asking.until([&] { return watched->entries.size() == 2; })) << watched->end;
  EXPECT_EQ(watched->text(), "a/1 gone a/2 gone");
}

TEST(EtcdFaults, TheStoreEndsAtOnceWhateverIsUnderWay) {
  Cluster cluster(1);
  auto asking = std::make_unique<Asking>(engine(config_of(cluster)));
  wait_for_quorum(*asking);
  (void)asking->watch("", 1);
  cluster.freeze(0);
  asking->store->read("", [](const auto&) { ADD_FAILURE() << "answered after its end"; });
  asking->store->keep(1, [](const auto&) { ADD_FAILURE() << "answered after its end"; });
  const auto begin = std::chrono::steady_clock::now();
  asking->store.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(500));
  (void)asking->until([] { return false; }, milliseconds(50));
  cluster.thaw(0);
}

std::string file_text(const std::filesystem::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(EtcdFaults, TlsWithClientCertificates) {
  const TemporaryFolder folder;
  const std::string in = "cd " + folder.path().string() + " && ";
  for (const char* command :
       {"openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
        "openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server",
        "printf 'subjectAltName=IP:127.0.0.1' > san",
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out "
        "server.pem",
        "openssl req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /CN=client",
        "openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out "
        "client.pem"}) {
    const Ran ran = run_program(in + command);
    ASSERT_EQ(ran.code, 0) << ran.output;
  }
  const auto file = [&](const char* name) { return (folder.path() / name).string(); };
  Cluster cluster(1, {"--cert-file", file("server.pem"), "--key-file", file("server.key"),
                      "--client-cert-auth", "--trusted-ca-file", file("ca.pem")});
  EtcdConfig config = config_of(cluster);
  config.ca = file_text(file("ca.pem"));
  Asking without(engine(config));
  config.certificate = file_text(file("client.pem"));
  config.key = file_text(file("client.key"));
  Asking asking(engine(config));
  wait_for_quorum(asking);
  EXPECT_TRUE(asking.put("k", "1"));
  EXPECT_FALSE(without.read("")) << "without a certificate of its own";
  config.ca = config.certificate;
  Asking mistrusts(engine(config));
  EXPECT_FALSE(mistrusts.read("")) << "whose server is not signed by its CA";
}

}  // namespace
}  // namespace linimo
