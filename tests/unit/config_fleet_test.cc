// [fleet], and pools and services that come from elsewhere.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_fixture.h"

namespace linimo {
namespace {

using testing::HasSubstr;

TEST_F(ConfigTest, ReadsWhichFleetItIsOf) {
  const std::string rest = std::string(kPool) + std::string(kService);
  EXPECT_FALSE(load(node() + rest)->fleet);
  const auto alone = load(node() + "[fleet]\nname = \"prod\"\n" + rest)->fleet;
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->store, StoreEngine::kFile);
  const auto whole = load(node() + R"([fleet]
name = "prod"
store = "etcd"
endpoints = ["10.0.0.1:2379", "etcd.example:2379", "[2001:db8::1]:2379"]
ca_file = "/etc/ca"
cert_file = "/etc/cert"
key_file = "/etc/key"
user = "linimo"
password_file = "/etc/password"
lease = "10s"
checkers = 5
peers = ["10.0.0.11:7946", "[2001:db8::11]:7946"]
secret_file = "/etc/secret"
)" + rest);
  ASSERT_TRUE(whole) << whole.error();
  EXPECT_EQ(whole->fleet->endpoints.size(), 3u);
  EXPECT_EQ(whole->fleet->lease, std::chrono::seconds(10));
  EXPECT_EQ(whole->fleet->checkers, 5u);
  EXPECT_EQ(whole->fleet->peers[1].to_string(), "[2001:db8::11]:7946");
}

TEST_F(ConfigTest, RefusesWrongFleets) {
  const auto of = [&](const std::string& keys) {
    return error_of(node() + "[fleet]\nname = \"prod\"\n" + keys + "\n" + std::string(kPool) +
                    std::string(kService));
  };
  EXPECT_THAT(of("store = \"zookeeper\""), HasSubstr("12:9: "));
  EXPECT_THAT(of("store = \"etcd\""), HasSubstr("no endpoints"));
  EXPECT_THAT(of("store = \"etcd\"\nendpoints = []"), HasSubstr("13:13: no endpoints"));
  EXPECT_THAT(of("endpoints = [\"a:1\"]"), HasSubstr("store = \"etcd\" only"));
  for (const auto& [endpoint, problem] : {std::pair("http://10.0.0.1:2379", "a URL"),
                                          {"10.0.0.1", "no port"},
                                          {"10.0.0.1:", "no port"},
                                          {"10.0.0.1:0", "no port"},
                                          {"10.0.0.1:65536", "no port"},
                                          {"10.0.0.1:999999999999", "no port"},
                                          {":2379", "no port"},
                                          {"2001:db8::1:2379", "without brackets"},
                                          {"[2001:db8::1:2379", "without brackets"},
                                          {"a b:2379", "not the name of a host"}})
    EXPECT_THAT(of(std::string("store = \"etcd\"\nendpoints = [\"") + endpoint + "\"]"), HasSubstr(problem))
        << endpoint;
  EXPECT_THAT(of("store = \"etcd\"\nendpoints = [\"a:1\", \"a:1\"]"), HasSubstr("listed twice"));
  std::string seventeen;
  for (int i = 1; i <= 17; ++i) seventeen += "\"a:" + std::to_string(i) + "\", ";
  EXPECT_THAT(of("store = \"etcd\"\nendpoints = [" + seventeen + "]"),
              HasSubstr("13:13: too many; expected at most 16"));
  EXPECT_THAT(of("peers = [\"10.0.0.1:7946\", \"10.0.0.1:7946\"]\nsecret_file = \"/s\""),
              HasSubstr("12:27: listed twice"));
  EXPECT_THAT(of("lease = \"1s\""), HasSubstr("12:9: "));
  EXPECT_THAT(of("lease = \"2500ms\""), HasSubstr("not whole seconds"));
  EXPECT_THAT(of("checkers = 0"), HasSubstr("12:12: "));
  EXPECT_THAT(of("peers = [\"10.0.0.1:7946\"]"), HasSubstr("peers without secret_file"));
  EXPECT_THAT(of("cert_file = \"/c\""), HasSubstr("cert_file without key_file"));
  EXPECT_THAT(of("user = \"u\""), HasSubstr("user without password_file"));
  EXPECT_THAT(of("ca_file = \"ca.pem\""), HasSubstr("absolute path"));
  EXPECT_THAT(of("leese = \"5s\""), HasSubstr("lease"));
}

TEST_F(ConfigTest, TakesPoolsAndServicesFromElsewhere) {
  const auto file = folder_.path() / "linimo.toml";
  // What the node's own file has of them does not count, nor what the other has of a node.
  const auto config =
      load_config_texts(node() + "[[pool]]\nnonsense = 1\n", file,
                        "[node]\nnonsense = 1\n" + std::string(kPool) + std::string(kService), "shared.toml");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->node.name, "lb1");
  ASSERT_EQ(config->pools.size(), 1u);
  ASSERT_EQ(config->services.size(), 1u);
  EXPECT_EQ(config->file, file);
  EXPECT_NE(config->hash_seed, 0u);
}

TEST_F(ConfigTest, WhatIsWrongElsewhereIsNamedThere) {
  const auto file = folder_.path() / "linimo.toml";
  const auto error = [&](const std::string& shared) {
    const auto config = load_config_texts(node(), file, shared, "shared.toml");
    return config ? std::string("accepted") : config.error();
  };
  EXPECT_THAT(error("\n[[pool]]\nnam = \"web\"\n"), HasSubstr("shared.toml:3:1: "));
  EXPECT_THAT(error("\n[[pool]]\nname = \"web\"\nbackends = [\n{ address = \"2001:db8::1\" } ]\n"),
              HasSubstr("shared.toml:5:13: [node] encap_source has no IPv6 address"));
  EXPECT_THAT(
      load_config_texts("[node]\nname = 1\n", file, std::string(kPool) + std::string(kService), "s").error(),
      HasSubstr("linimo.toml:2:8: "));
}

}  // namespace
}  // namespace linimo
