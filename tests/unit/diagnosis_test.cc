// Findings out of facts: each cause by its own evidence, and a healthy node gives none.

#include "controlplane/cli/diagnosis.h"

#include <gtest/gtest.h>

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
    facts_.status = {
        {"conditions", json::array({condition("carrier", "eth0", "holds")})},
        {"outcomes", {{"too_big", 5}, {"too_big_reply", 7}, {"tx_full", 3}}},
        {"pools_in_panic", json::array()},
        {"path_mtus_lowered", 0},
        {"announce", nullptr},
        {"config",
         {{"file", "/etc/linimo/linimo.toml"}, {"last_error", nullptr}, {"restart_needed", json::array()}}}};
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

TEST_F(DiagnosisTest, AllOfThemPointAtTheNetwork) {
  for (size_t i = 0; i < 3; ++i) lose(i, "timeout", Direct::kOpen);
  EXPECT_EQ(finding().cause, "tunnels-filtered");
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
