// [announce], [metrics] and [api].

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/config_fixture.h"

namespace linimo {
namespace {

using testing::HasSubstr;

TEST_F(ConfigTest, ReadsWhereMetricsAreServed) {
  const std::string rest = std::string(kPool) + std::string(kService);
  EXPECT_FALSE(load(node() + rest)->metrics.listen);
  EXPECT_EQ(load(node() + "[metrics]\nlisten = \"127.0.0.1:9310\"\n" + rest)->metrics.listen->to_string(),
            "127.0.0.1:9310");
  EXPECT_EQ(load(node() + "[metrics]\nlisten = \"[::1]:9310\"\n" + rest)->metrics.listen->to_string(),
            "[::1]:9310");
  EXPECT_FALSE(load(node() + "[metrics]\nlisten = \"[::1]:9310\"\n" + rest)->metrics.page);
  EXPECT_TRUE(load(node() + "[metrics]\npage = true\n" + rest)->metrics.page);
  EXPECT_EQ(error_of(node() + "[metrics]\npage = 1\n" + rest),
            "11:8: this is an integer; expected true or false");
  for (const auto& [listen, problem] : {std::pair("9310", "no port"),
                                        {"127.0.0.1", "no port"},
                                        {"localhost:9310", "not an IP address"},
                                        {"::1:9310", "not an IP address"},
                                        {"[127.0.0.1]:9310", "not an IP address"},
                                        {"[]:9310", "not an IP address"},
                                        {"[::1:9310", "not an IP address"},
                                        {"127.0.0.1:0", "not a port"},
                                        {"127.0.0.1:65536", "not a port"},
                                        {"127.0.0.1:93x", "not a port"}}) {
    EXPECT_EQ(
        error_of(node() + "[metrics]\nlisten = \"" + listen + "\"\n" + rest),
        std::string("11:10: ") + problem +
            "; expected an address of this machine and a port, such as \"127.0.0.1:9310\" or \"[::1]:9310\"");
  }
}

TEST_F(ConfigTest, ReadsWhereTheApiIsServed) {
  const std::string rest = std::string(kPool) + std::string(kService);
  const std::string least =
      "[api]\nlisten = \"[::1]:9320\"\ncert_file = \"/a.crt\"\nkey_file = \"/a.key\"\nclient_ca_file = "
      "\"/ca.crt\"\n";
  EXPECT_FALSE(load(node() + rest)->api);
  const auto api = load(node() + least + rest)->api;
  ASSERT_TRUE(api);
  EXPECT_EQ(api->listen.to_string(), "[::1]:9320");
  EXPECT_EQ(api->key_file, "/a.key");
  EXPECT_TRUE(api->operators.empty());
  EXPECT_EQ(load(node() + least + "operators = [\"alice\", \"bob\"]\n" + rest)->api->operators,
            (std::vector<std::string>{"alice", "bob"}));
  // Nobody is let in by half of a section.
  EXPECT_THAT(error_of(node() + "[api]\nlisten = \"[::1]:9320\"\n" + rest), HasSubstr("cert_file"));
  EXPECT_THAT(error_of(node() + least + "operators = [\"alice\", \"alice\"]\n" + rest),
              HasSubstr("listed twice"));
  EXPECT_THAT(error_of(node() + least + "operators = [\"\"]\n" + rest), HasSubstr("not such a name"));
  EXPECT_THAT(error_of(node() + least + "operators = [\"" + std::string(65, 'a') + "\"]\n" + rest),
              HasSubstr("not such a name"));
  for (const char* path : {"a.crt", "/a\\u0000.crt"}) {
    std::string wrong = least;
    wrong.replace(wrong.find("/a.crt"), 6, path);
    EXPECT_THAT(error_of(node() + wrong + rest), HasSubstr("12:13: not such a path"));
  }
}

TEST_F(ConfigTest, ReadsHowToAnnounce) {
  const std::string rest = std::string(kPool) + std::string(kService);
  EXPECT_FALSE(load(node() + rest)->announce);
  const auto usual = load(node() + "[announce]\nvia = \"bird\"\n" + rest)->announce;
  ASSERT_TRUE(usual);
  EXPECT_EQ(usual, AnnounceConfig{});
  EXPECT_EQ(usual->table, 77u);
  const auto unusual =
      load(node() +
           "[announce]\nvia = \"bird\"\ntable = 1000\nmetric = 10\ndrain_metric = "
           "20\nmin_backends = 2\nservices = \"all\"\nstartup_deadline = \"5s\"\ndrain_wait = "
           "\"2s\"\norphan_timeout = \"1h\"\nbird_socket = \"/run/bird.ctl\"\n" +
           rest)
          ->announce;
  ASSERT_TRUE(unusual);
  const AnnounceConfig expected{1000,
                                10,
                                20,
                                2,
                                true,
                                std::chrono::seconds(5),
                                std::chrono::seconds(2),
                                std::chrono::hours(1),
                                "/run/bird.ctl"};
  EXPECT_EQ(unusual, expected);
}

TEST_F(ConfigTest, RefusesWrongAnnouncements) {
  const auto of = [&](std::string_view keys) {
    return error_of(node() + "[announce]\n" + std::string(keys) + "\n");
  };
  EXPECT_TRUE(of("table = 77").starts_with("10:1: \"via\" is missing; expected via = \"bird\"")) << of("");
  EXPECT_TRUE(of("via = \"frr\"").starts_with("11:7: ")) << of("via = \"frr\"");
  const std::string via = "via = \"bird\"\n";
  EXPECT_TRUE(of(via + "table = 254").starts_with("12:9: a table that the kernel itself routes by"));
  EXPECT_TRUE(of(via + "table = 0").starts_with("12:9: "));
  EXPECT_TRUE(of(via + "drain_metric = 100").starts_with("12:16: drain_metric 100 is not above metric 100"));
  EXPECT_TRUE(of(via + "metric = 300").starts_with("12:10: drain_metric 200 is not above metric 300"));
  EXPECT_TRUE(of(via + "bird_socket = \"bird.ctl\"").starts_with("12:15: not the path of a socket"));
  EXPECT_TRUE(of(via + "bird_socket = \"/bird\\u0000.ctl\"").starts_with("12:15: not the path of a socket"));
  EXPECT_TRUE(of(via + "bird_socket = \"/" + std::string(107, 'b') + "\"")
                  .starts_with("12:15: not the path of a socket"))
      << "longer than an address";
  for (const std::string_view wrong : {"8", "soon", "", "99999999999s", "1d"})
    EXPECT_TRUE(
        of(via + "orphan_timeout = \"" + std::string(wrong) + "\"").starts_with("12:18: not a duration"))
        << wrong;
  EXPECT_TRUE(of(via + "orphan_timeout = \"169h\"").starts_with("12:18: duration out of range"));
  EXPECT_TRUE(of(via + "metric = 20\ndrain_metric = 10").starts_with("13:16: drain_metric 10 is not above"));
  EXPECT_TRUE(of(via + "min_backends = 0").starts_with("12:16: "));
  EXPECT_TRUE(
      error_of(node() + "[anounce]\n").starts_with("10:2: unknown key \"anounce\"; expected \"announce\""));
}

/// As whoever does not need the rest reads it: the data plane's watch and `linimo doctor`.
TEST_F(ConfigTest, ReadsHowToAnnounceAlone) {
  const auto load_alone = [&](std::string_view text) {
    return load_announce_config(folder_.write("linimo.toml", text));
  };
  const auto none = load_alone("[later]\nx = 1\n");
  ASSERT_TRUE(none) << none.error();
  EXPECT_FALSE(*none);
  const auto some = load_alone("[later]\nx = 1\n[announce]\nvia = \"bird\"\ntable = 1000\n");
  ASSERT_TRUE(some) << some.error();
  ASSERT_TRUE(*some);
  EXPECT_EQ((*some)->table, 1000u);
  const auto wrong = load_alone("[announce]\nvia = \"bird\"\ntable = 254\n");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error(), HasSubstr("linimo.toml:3:9: a table that the kernel itself routes by"));
  const auto missing = load_announce_config(folder_.path() / "none.toml");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error(), HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace linimo
