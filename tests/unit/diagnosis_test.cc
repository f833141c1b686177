// Findings out of facts: each cause by its own evidence, and a healthy node gives none.

#include "controlplane/cli/diagnosis.h"

#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "controlplane/cli/backend_script.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

using nlohmann::json;

json condition(const char* name, const char* subject, const char* state) {
  return {{"name", name}, {"subject", subject}, {"state", state}, {"evidence", "seen"}, {"mend", "do this"}};
}

json backend(const char* address, const char* state, const char* detail = "") {
  return {
      {"pool", "web"}, {"address", address}, {"state", state}, {"way_problem", nullptr}, {"detail", detail}};
}

class DiagnosisTest : public testing::Test {
 protected:
  DiagnosisTest() {
    facts_.status = {{"conditions", json::array({condition("carrier", "eth0", "holds")})},
                     {"outcomes", {{"too_big", 5}, {"too_big_reply", 7}, {"tx_full", 3}}},
                     {"pools_in_panic", json::array()},
                     {"path_mtus_lowered", 0},
                     {"node", "lb1"},
                     {"digest", "a"},
                     {"seed_check", "1"},
                     {"serves", true},
                     {"flows", {{"made", 100}}},
                     {"workers", json::array({{{"forwarded", 1000}}, {{"forwarded", 2000}}})},
                     {"announce", nullptr},
                     {"config",
                      {{"file", "/etc/linimo/linimo.toml"},
                       {"revision", "r"},
                       {"last_error", nullptr},
                       {"restart_needed", json::array()}}}};
    facts_.later = facts_.status;
    facts_.pools = json::array(
        {{{"name", "web"}, {"encapsulation", "ipip"}, {"health", {{"through_tunnel", true}, {"port", 80}}}}});
    facts_.services = json::array();
    facts_.backends =
        json::array({backend("10.0.1.1", "up"), backend("10.0.1.2", "up"), backend("10.0.1.3", "draining")});
    facts_.vip = "203.0.113.10";
  }

  /// The only one.
  Finding finding() const {
    const auto found = diagnose(facts_);
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Finding() : found.front();
  }

  void lose(size_t which, const char* detail, Direct direct) {
    facts_.backends[which]["state"] = "down";
    facts_.backends[which]["detail"] = detail;
    facts_.direct["web/" + facts_.backends[which]["address"].get<std::string>()] = direct;
  }

  Facts facts_;
};

TEST_F(DiagnosisTest, AStoreThatForgetsNothingIsToldTo) {
  facts_.fleet = {{"store", {{"revision", 12'345}, {"keeps_all", false}}}};
  EXPECT_EQ(diagnose(facts_), std::vector<Finding>());
  facts_.fleet["store"]["keeps_all"] = true;
  EXPECT_EQ(finding().cause, "store-keeps-all");
  EXPECT_NE(finding().evidence.find("12345 revisions"), std::string::npos);
}

TEST_F(DiagnosisTest, AHealthyNodeGivesNone) {
  EXPECT_TRUE(diagnose(facts_).empty());
}

TEST_F(DiagnosisTest, AConditionThatFailsIsOne) {
  facts_.later["conditions"].push_back(condition("program-attached", "eth0", "fails"));
  facts_.later["conditions"].push_back(condition("peer-offloads", "eth0", "unknown"));
  EXPECT_EQ(finding(), (Finding{"program-attached", "eth0", "seen", "do this", true}));
}

TEST_F(DiagnosisTest, ABackendThatRefusesTunnelsIsNamedOnce) {
  lose(1, "timeout", Direct::kOpen);
  facts_.later["conditions"].push_back(condition("tunnel-accepted", "10.0.1.2", "fails"));
  EXPECT_EQ(finding().cause, "tunnel-accepted");
}

TEST_F(DiagnosisTest, ABackendThatServesAndNotThroughTheTunnel) {
  lose(1, "timeout", Direct::kOpen);
  const Finding found = finding();
  EXPECT_EQ(found.cause, "tunnel-lost-at-backend");
  EXPECT_EQ(found.subject, "web/10.0.1.2");
  EXPECT_FALSE(found.certain);
  EXPECT_NE(found.mend.find("rp_filter=0; ip addr replace 203.0.113.10/32 dev lo"), std::string::npos)
      << found.mend;
}

/// Not at the network alone: the same is seen where none of them has the VIP.
TEST_F(DiagnosisTest, AllOfThemPointAtTheNetworkOrAtAllOfThem) {
  for (size_t i = 0; i < 3; ++i) lose(i, "timeout", Direct::kOpen);
  const Finding found = finding();
  EXPECT_EQ(found.cause, "tunnels-lost");
  EXPECT_FALSE(found.certain);
  for (const char* part : {"all 3 backends", "the network between drops tunnels (ip proto 4 or ip proto 41)",
                           "all of these backends lack the VIP"})
    EXPECT_NE(found.evidence.find(part), std::string::npos) << part << ": " << found.evidence;
  for (const char* part : {"let the network pass ip proto 4 or ip proto 41", "encap_source",
                           "ip addr replace 203.0.113.10/32 dev lo", "--backend-script"})
    EXPECT_NE(found.mend.find(part), std::string::npos) << part << ": " << found.mend;
}

TEST_F(DiagnosisTest, AServiceThatIsNotOnTheVip) {
  lose(1, "connection refused", Direct::kOpen);
  EXPECT_EQ(finding().cause, "service-not-on-vip");
  EXPECT_TRUE(finding().certain);
}

TEST_F(DiagnosisTest, AServiceThatDoesNotRun) {
  lose(1, "connection refused", Direct::kRefused);
  EXPECT_EQ(finding().cause, "backend-down");
  lose(1, "timeout", Direct::kSilent);
  EXPECT_EQ(finding().cause, "backend-down");
  facts_.pools[0]["health"] = nullptr;
  EXPECT_EQ(finding().cause, "backend-down");
}

TEST_F(DiagnosisTest, WaysThatAreNone) {
  const std::pair<const char*, const char*> cases[] = {
      {"no route", "no-route"},
      {"next hop not resolved", "next-hop-unresolved"},
      {"route leaves by an interface that is not Linimo's", "wrong-egress"}};
  for (const auto& [problem, cause] : cases) {
    facts_.backends[0]["way_problem"] = problem;
    EXPECT_EQ(finding().cause, cause);
    EXPECT_NE(finding().evidence.find("ip route get 10.0.1.1"), std::string::npos);
  }
}

TEST_F(DiagnosisTest, WhatGrowsWhileOneLooks) {
  facts_.later["outcomes"]["too_big_reply"] = 9;
  EXPECT_EQ(finding().cause, "tunnel-does-not-fit");
  EXPECT_FALSE(finding().certain);
  facts_.later["path_mtus_lowered"] = 1;
  EXPECT_TRUE(finding().certain);
  facts_.later["outcomes"]["too_big_reply"] = 7;
  facts_.later["outcomes"]["tx_full"] = 4;
  EXPECT_EQ(finding().cause, "tx_full");
}

TEST_F(DiagnosisTest, WhatTheNodeItselfKnows) {
  facts_.later["config"]["last_error"] = "line 3: nonsense";
  EXPECT_EQ(finding(), (Finding{"configuration-refused", "", "line 3: nonsense",
                                "linimo config check /etc/linimo/linimo.toml", true}));
  facts_.later["config"]["last_error"] = nullptr;
  facts_.later["config"]["restart_needed"].push_back("workers");
  EXPECT_EQ(finding().cause, "restart-needed");
  facts_.later["config"]["restart_needed"].clear();
  facts_.later["pools_in_panic"].push_back("web");
  EXPECT_EQ(finding().subject, "web");
}

TEST_F(DiagnosisTest, WhatTheKernelAndBirdSay) {
  facts_.generic_xdp = {"eth0"};
  EXPECT_EQ(finding().cause, "xdp-generic");
  facts_.generic_xdp.clear();
  facts_.not_in_bird = {"203.0.113.10"};
  facts_.later["announce"] = {{"table", 77}};
  EXPECT_EQ(finding().cause, "bird-without-route");
  EXPECT_NE(finding().mend.find("kernel table 77"), std::string::npos);
}

TEST_F(DiagnosisTest, ClientsThatAskAgain) {
  facts_.openings.begun = 100;
  facts_.openings.backends["web/10.0.1.1"] = {.begun = 90, .repeated = 1};
  facts_.openings.backends["web/10.0.1.2"] = {.begun = 10, .repeated = 4};
  EXPECT_EQ(finding().cause, "answers-lost");
  EXPECT_EQ(finding().subject, "web/10.0.1.2");
  EXPECT_FALSE(finding().certain);
  facts_.openings.backends["web/10.0.1.2"].begun =
      33;  // a client in eight or fewer: packets are lost everywhere
  EXPECT_TRUE(diagnose(facts_).empty());
}

TEST_F(DiagnosisTest, ChecksumsThatNobodyFinishes) {
  facts_.openings.begun = 10;
  facts_.openings.backends["web/10.0.1.1"] = {.begun = 10, .repeated = 8};
  facts_.openings.unfinished = 1;  // may be chance
  facts_.openings.unfinished_interface = "eth0";
  EXPECT_EQ(finding().cause, "answers-lost");
  facts_.openings.unfinished = 2;
  EXPECT_EQ(finding().cause, "checksums-unfinished");
  EXPECT_TRUE(finding().certain);
}

TEST_F(DiagnosisTest, OneQueueOfTwo) {
  facts_.queues = 2;
  facts_.later["flows"]["made"] = 116;
  facts_.later["workers"][1]["forwarded"] = 2500;
  EXPECT_EQ(finding().cause, "one-queue");
  facts_.later["workers"][0]["forwarded"] = 1001;  // the other has its part
  EXPECT_TRUE(diagnose(facts_).empty());
  facts_.later["workers"][0]["forwarded"] = 1000;
  facts_.later["flows"]["made"] = 115;  // so few may be on one by chance
  EXPECT_TRUE(diagnose(facts_).empty());
  facts_.later["flows"]["made"] = 200;
  facts_.queues = 1;  // of one
  EXPECT_TRUE(diagnose(facts_).empty());
}

TEST_F(DiagnosisTest, WhoElseHoldsAVip) {
  facts_.vip_holders = {{"203.0.113.10", "eth0", "02:00:00:00:00:02", "10.0.1.2"}};
  EXPECT_EQ(finding().cause, "vip-held-by-another");
  EXPECT_EQ(finding().evidence, "02:00:00:00:00:02 (backend web/10.0.1.2) answers ARP for it on eth0");
  EXPECT_NE(finding().mend.find("arp_ignore=1"), std::string::npos);
  facts_.vip_holders = {{"2001:db8::1", "eth0", "02:00:00:00:00:02", ""}};
  EXPECT_EQ(finding().evidence, "02:00:00:00:00:02 answers neighbour discovery for it on eth0");
}

TEST_F(DiagnosisTest, NodesThatDisagree) {
  facts_.peers.push_back({"ssh lb2", facts_.status, facts_.status});
  Peer& peer = facts_.peers.back();
  peer.later["node"] = "lb2";
  EXPECT_TRUE(diagnose(facts_).empty());
  peer.later["digest"] = "b";  // on its way, perhaps
  EXPECT_TRUE(diagnose(facts_).empty());
  peer.status["digest"] = "c";
  EXPECT_EQ(finding().cause, "nodes-disagree");
  EXPECT_NE(finding().evidence.find("tables differ"), std::string::npos);
  peer.later["seed_check"] = "2";
  EXPECT_NE(finding().evidence.find("seed"), std::string::npos);
  peer.later.erase("seed_check");  // of an older version
  EXPECT_EQ(finding().evidence.find("seed"), std::string::npos);
  peer.later = nullptr;
  EXPECT_EQ(finding().cause, "peer-silent");
}

TEST_F(DiagnosisTest, OneNodeHasAll) {
  facts_.peers.push_back({"ssh lb2", facts_.status, facts_.status});
  Peer& peer = facts_.peers.back();
  peer.later["node"] = "lb2";
  facts_.later["flows"]["made"] = 116;
  EXPECT_EQ(finding().cause, "one-node-has-all");
  EXPECT_EQ(finding().subject, "lb1");
  peer.later["flows"]["made"] = 101;
  EXPECT_TRUE(diagnose(facts_).empty());
  peer.later["flows"]["made"] = 100;
  peer.later["serves"] = false;  // as it should be
  EXPECT_TRUE(diagnose(facts_).empty());
}

/// A SYN of 192.0.2.2:4242 to 203.0.113.10:80 as a capture tells of it.
json syn(uint64_t time_ms, const std::string& port, const std::string& checksum) {
  return {{"time_ns", time_ms * 1'000'000},
          {"packet", "tcp"},
          {"backend", "web/10.0.1.1"},
          {"in",
           {{"interface", "eth0"},
            {"bytes",
             "0200000000010200000000020800"
             "450000280000400040060000c0000202cb00710a" +
                 port + "0050000000010000000050022000" + checksum + "0000"}}}};
}

TEST(OpeningWatch, CountsEachConnectionOnceAndOnceWhatRepeats) {
  OpeningWatch watch;
  for (const uint64_t ms : {1000, 1001, 2000, 4000}) watch.take(syn(ms, "1092", "1234"));
  watch.take(syn(2000, "1093", "1234"));
  EXPECT_EQ(watch.seen().begun, 2u);
  EXPECT_EQ(watch.seen().backends.at("web/10.0.1.1").begun, 2u);
  EXPECT_EQ(watch.seen().backends.at("web/10.0.1.1").repeated, 1u);
  EXPECT_EQ(watch.seen().unfinished, 0u);
}

TEST(OpeningWatch, KnowsTheSumOfAPseudoHeader) {
  OpeningWatch watch;
  // c000 + 0202 + cb00 + 710a + 0006 + 0014 = 1fe26
  watch.take(syn(1000, "1092", "fe27"));
  watch.take(syn(1000, "1093", "01d8"));  // its complement
  EXPECT_EQ(watch.seen().unfinished, 1u);
  EXPECT_EQ(watch.seen().unfinished_interface, "eth0");
}

TEST(OpeningWatch, LeavesOutWhatIsCutShort) {
  OpeningWatch watch;
  json packet = syn(1000, "1092", "1234");
  const auto whole = packet["in"]["bytes"].get<std::string>();
  for (size_t length = 0; length < whole.size(); length += 2) {
    packet["in"]["bytes"] = whole.substr(0, length);
    watch.take(packet);
  }
  EXPECT_EQ(watch.seen().begun, 0u);
}

/// A segment that was too big: one that is told of it and comes again as it was has not been heard.
TEST(TooBigWatch, CountsWhatComesAgainAsLongAsItWas) {
  TooBigWatch watch;
  const auto segment = [](uint64_t ms, const char* port, const char* outcome, const char* length) {
    json packet = syn(ms, port, "1234");
    auto& bytes = packet["in"]["bytes"].get_ref<std::string&>();
    bytes.replace(28 + 4, 4, length);
    packet["outcome"] = outcome;
    return packet;
  };
  watch.take(segment(1000, "1092", "too_big_reply", "05dc"));
  watch.take(segment(1100, "1092", "rate_limited", "05dc"));  // a network that doubles packets
  EXPECT_EQ(watch.seen().again, 0u);
  watch.take(segment(1300, "1092", "rate_limited", "05dc"));
  watch.take(segment(1900, "1092", "too_big_reply", "05dc"));
  EXPECT_EQ(watch.seen().told, 1u);
  EXPECT_EQ(watch.seen().again, 1u);
  watch.take(segment(2000, "1093", "too_big_reply", "05dc"));
  watch.take(segment(2300, "1093", "forwarded", "05dc"));      // the way takes it now
  watch.take(segment(2300, "1093", "too_big_reply", "0580"));  // it has heard, and the way is narrower still
  watch.take(segment(3000, "1094", "rate_limited", "05dc"));   // nobody was told
  watch.take(segment(3300, "1094", "rate_limited", "05dc"));
  EXPECT_EQ(watch.seen().told, 3u);
  EXPECT_EQ(watch.seen().again, 1u);
}

TEST_F(DiagnosisTest, NobodyHearsThatPacketsAreTooBig) {
  facts_.later["outcomes"]["too_big_reply"] = 20;
  facts_.too_big = {.told = 9, .again = 1, .packet = "tcp a > b"};
  EXPECT_EQ(finding().cause, "tunnel-does-not-fit");
  facts_.too_big.again = 2;
  EXPECT_EQ(finding().cause, "too-big-unheard");
  EXPECT_NE(finding().evidence.find("2 of 9"), std::string::npos);
}

/// A machine on which scripts are run: what `ip` and `sysctl` say there.
class Machine {
 public:
  explicit Machine(const std::string& addresses, int all = 0, int tunnel = 0) {
    // By its name, so that what has no such device finds none.
    program("ip", "case \"$*\" in\n'-o addr show') for a in " + addresses +
                      "; do echo \"1: lo inet $a/32\"; done ;;\n"
                      "'link show dev '*) echo \"$4: $FLAGS\" ;;\n*route*) echo local ;;\n'fou show') echo "
                      "gue ;;\nesac");
    program("sysctl", "case $2 in *.all.rp_filter) echo " + std::to_string(all) + " ;; *.rp_filter) echo " +
                          std::to_string(tunnel) + " ;; *) echo 1 ;; esac");
    for (const char* nothing : {"sleep", "nft", "conntrack"}) program(nothing, "exit 0");
  }

  struct Said {
    int code;
    std::string text;
  };
  Said run(const std::string& script, const char* flags = "UP") const {
    const auto file = folder_.write("script", script);
    const std::string command = std::string("FLAGS=") + flags + " PATH='" + folder_.path().string() +
                                "':/usr/bin:/bin sh " + file.string() + " 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    Said said{-1, {}};
    for (int c; (c = fgetc(pipe)) != EOF;) said.text += static_cast<char>(c);
    said.code = WEXITSTATUS(pclose(pipe));
    return said;
  }

 private:
  void program(const char* name, const std::string& does) {
    std::filesystem::permissions(folder_.write(name, "#!/bin/sh\n" + does + "\n"),
                                 std::filesystem::perms::owner_all);
  }

  TemporaryFolder folder_;
};

/// The kernel takes the larger of the two: 2 is loose, 1 strict, and 0 none (ip-sysctl).
TEST(BackendScript, TheLargerReversePathFilterCounts) {
  const std::string script = backend_script("203.0.113.10", "ipip", "10.0.1.1");
  for (const auto& [all, tunnel, strict] : {std::tuple(0, 0, false),
                                            {1, 0, true},
                                            {0, 1, true},
                                            {1, 1, true},
                                            {1, 2, false},
                                            {2, 1, false},
                                            {2, 0, false}}) {
    const auto said = Machine("10.0.1.1", all, tunnel).run(script);
    EXPECT_EQ(said.text.find("strict") != std::string::npos, strict) << all << tunnel << said.text;
    EXPECT_EQ(said.code, strict ? 1 : 0) << said.text;
  }
}

/// Each backend hears of the tunnels of its own pools, of the family that its address has, and of no other.
TEST(BackendScript, IsForTheTunnelsOfTheBackendsOwnPools) {
  const json services = {{{"pool", "old"}, {"vips", {"203.0.113.10"}}},
                         {{"pool", "new"}, {"vips", {"203.0.113.11", "2001:db8:f::11/128"}}},
                         {{"pool", "mixed"}, {"vips", {"203.0.113.12"}}}};
  const json pools = {{{"name", "old"}, {"encapsulation", "ipip"}},
                      {{"name", "new"}, {"encapsulation", "gue"}},
                      {{"name", "mixed"}, {"encapsulation", "gre"}}};
  const auto of = [](const char* pool, const char* address) {
    return json{{"pool", pool}, {"address", address}};
  };
  const json backends = {of("old", "10.0.1.1"), of("old", "10.0.1.2"), of("new", "2001:db8::3"),
                         of("mixed", "10.0.1.4"), of("mixed", "2001:db8::4")};
  const std::string script = script_for_backends(services, pools, backends);
  const auto devices = [&](const std::string& addresses) {
    const auto said = Machine(addresses).run(script, "DOWN");
    EXPECT_EQ(said.code, 1);
    std::string found;
    for (const char* device : {"tunl0", "ip6tnl0", "gre0", "ip6gre0"})
      if (said.text.find(std::string(device) + " is not there") == 0 ||
          said.text.find("\n" + std::string(device) + " is not there") != std::string::npos)
        found += std::string(device) + " ";
    return found;
  };
  EXPECT_EQ(devices("10.0.1.2"), "tunl0 ");
  EXPECT_EQ(devices("2001:db8::3"), "ip6tnl0 ");
  EXPECT_EQ(devices("10.0.1.4 2001:db8::4"), "gre0 ip6gre0 ");
  EXPECT_EQ(devices("10.0.1.1 2001:db8::4"), "tunl0 ip6gre0 ");
  const auto well = Machine("10.0.1.1").run(script);
  EXPECT_EQ(well.code, 0) << well.text;
  EXPECT_EQ(well.text, "nothing found\n");
  const auto stranger = Machine("10.0.1.10").run(script);
  EXPECT_EQ(stranger.code, 1);
  EXPECT_EQ(stranger.text, "this machine has the address of no backend\n");
}

TEST(BackendScript, IsAShellScriptForEachTunnel) {
  for (const char* encapsulation : {"ipip", "gre", "gue"}) {
    const std::string script = backend_script("203.0.113.10", encapsulation, "10.0.1.1");
    EXPECT_TRUE(script.starts_with("#!/bin/sh\n"));
    EXPECT_EQ(script.find('{' + std::string("0}")), std::string::npos);
    EXPECT_NE(script.find("203.0.113.10"), std::string::npos);
  }
}

}  // namespace
}  // namespace linimo
