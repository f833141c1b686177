// [[pool]]: backends, and how they are checked.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/unit/config_fixture.h"

namespace linimo {
namespace {

TEST_F(ConfigTest, RefusesWrongPools) {
  const std::pair<std::string, std::string_view> cases[] = {
      {with_pool_line("colour = 1"), "12:1: unknown key \"colour\"; expected one of \"name\""},
      {with_pool_line("encapsulation = \"vxlan\""), "12:17: \"vxlan\" is not known here"},
      {with_pool_line("gue_port = 6080"), "12:12: gue_port means nothing here"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"abc\" }"), "12:50: not a server id"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"001122334455667788\" }"),
       "12:50: not a server id"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"0x\" }"), "12:50: not a server id"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"\" }"), "12:50: not a server id"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"ab\" }, { address = \"10.0.1.2\" }"),
       "12:58: a backend without server_id among others"},
      {with_backends("{ address = \"10.0.1.1\" }, { address = \"10.0.1.2\", server_id = \"ab\" }"),
       "12:76: a server id of another length"},
      {with_backends(
           "{ address = \"10.0.1.1\", server_id = \"ab\" }, { address = \"10.0.1.2\", server_id = \"AB\" }"),
       "12:94: a second backend with this server id"},
      {with_pool_line("table_size = 65536"), "12:14: 65536 is not a prime; expected a prime, such as 65537"},
      {with_pool_line("health = { type = \"tcp\" }"),
       "12:10: \"port\" is missing; expected the port to check"},
      {with_pool_line("health = { type = \"tcp\", port = 65536 }"), "12:33: 65536 is out of range"},
      {with_pool_line("health = { type = \"tcp\", port = 1, interval = \"2 s\" }"),
       "12:47: not a duration; expected"},
      {with_pool_line("health = { type = \"tcp\", port = 1, interval = \"1s\", timeout = \"2s\" }"),
       "12:63: duration out of range; expected a duration from 10ms to 1s"},
      {with_pool_line("health = { type = \"tcp\", port = 1, interval = 2 }"),
       "12:47: this is an integer; expected a "
       "duration"},
      {with_pool_line("health = { type = \"http\", port = 1, host = \"a\\r\\nb\" }"),
       "12:44: not a host name"},
      {with_pool_line("health = { type = \"http\", port = 1, path = \"/a b\" }"), "12:44: not a path"},
      {with_pool_line("health = { type = \"tcp\", port = 1, rise = 0 }"), "12:43: 0 is out of range"},
      {with_backends("{ address = \"10.0.1.1\", weight = 65536 }"), "12:47: 65536 is out of range"},
      {with_backends("{ address = \"10.0.1.300\" }"), "12:26: not an IP address"},
      {with_backends("{ address = \"127.0.0.1\" }"), "12:26: loopback, multicast or unspecified"},
      {with_backends("{ address = \"0.0.0.1\" }"), "12:26: loopback, multicast or unspecified"},
      {with_backends("{ address = \"224.0.0.1\" }"), "12:26: loopback, multicast or unspecified"},
      {with_backends("{ address = \"::\" }"), "12:26: loopback, multicast or unspecified"},
      {with_backends("{ address = \"::1\" }"), "12:26: loopback, multicast or unspecified"},
      {with_backends("{ address = \"ff02::1\" }"), "12:26: loopback, multicast or unspecified"},
      {with_backends("{ address = \"10.0.1.1\" }, { address = \"10.0.1.1\" }"),
       "12:52: 10.0.1.1 is listed twice"},
      {with_backends("{ address = \"2001:db8::1\" }"), "12:26: [node] encap_source has no IPv6 address"},
      {with_backends("{ address = \"203.0.113.10\" }"), "12:26: backend 203.0.113.10 lies inside a VIP"},
      {with_backends("{ }"), "12:14: \"address\" is missing"},
      {node() + "[[pool]]\nname = \"p\"\nbackends = []\n[[pool]]\nname = \"p\"\nbackends = []\n",
       "13:1: a second pool named \"p\" (the first is in line 10)"},
      {node() + "[[pool]]\nname = \"" + std::string(64, 'x') + "\"\nbackends = []\n", "11:8: "},
      {node() + "[[pool]]\nname = \"p\"\ntable_size = 2\nbackends = "
                "[{address=\"10.0.1.1\"},{address=\"10.0.1.2\"},"
                "{address=\"10.0.1.3\"}]\n",
       "12:14: table_size 2 is smaller than the number of backends"},
      {node() + "[pool]\nname = \"p\"\n", "10:1: this is a table; expected [[pool]] sections"},
  };
  for (const auto& [text, error] : cases) {
    const std::string found = error_of(text);
    EXPECT_TRUE(found.starts_with(error)) << "gave: " << found << "\nnot:  " << error;
    EXPECT_NE(found.find("expected"), std::string::npos) << found;
  }
}

TEST_F(ConfigTest, RefusesAPoolOfMoreBackendsThanSlotsCanName) {
  std::string backends;
  for (int i = 0; i < 65538; ++i) {
    backends += fmt::format("{{ address = \"10.{}.{}.{}\" }},\n", 1 + i / 62500, i / 250 % 250, i % 250);
  }
  const std::string found = error_of(with_backends("\n" + backends));
  EXPECT_TRUE(found.starts_with("10:1: table_size 65537 is smaller than the number of backends")) << found;
  EXPECT_NE(found.find("too many backends; expected at most 65535 in a pool"), std::string::npos) << found;
}

TEST_F(ConfigTest, NamesTheFamilyThatTunnelsHaveNoSourceFor) {
  std::string text = with_backends("{ address = \"10.0.1.1\" }");
  text.replace(text.find("10.0.0.11"), 9, "2001:db8::11");
  EXPECT_TRUE(error_of(text).starts_with("12:26: [node] encap_source has no IPv4 address")) << error_of(text);
}

TEST_F(ConfigTest, ReadsEveryKindOfCheck) {
  const auto health = [&](const std::string& text) {
    const auto config = load(with_pool_line("health = { " + text + " }"));
    EXPECT_TRUE(config) << text << ": " << config.error();
    return config ? *config->pools[0].health : HealthCheckConfig{};
  };
  EXPECT_EQ(health("type = \"tls\", port = 443").type, CheckType::kTls);
  EXPECT_FALSE(health("type = \"tls\", port = 443, verify = false").verify);
  EXPECT_FALSE(health("type = \"tcp\", port = 80, through_tunnel = false").tunnel);
  const auto https =
      health("type = \"https\", port = 443, host = \"www.example.org\", verify = true, ca_file = \"" +
             seed_.string() + "\", status = \"200-299,304\", body = \"well\"");
  EXPECT_EQ(https.type, CheckType::kHttps);
  EXPECT_EQ(https.statuses, (std::vector<StatusRange>{{200, 299}, {304, 304}}));
  EXPECT_TRUE(https.verify);
  EXPECT_EQ(health("type = \"http\", port = 80, status = 204").statuses,
            (std::vector<StatusRange>{{204, 204}}));
  EXPECT_EQ(health("type = \"http\", port = 80, status = [200, 204]").statuses,
            (std::vector<StatusRange>{{200, 204}}));
  EXPECT_EQ(health("type = \"grpc\", port = 50051, service = \"a.B\"").service, "a.B");
  EXPECT_TRUE(
      health("type = \"grpc\", port = 50051, tls = true, host = \"a.example\", verify = true").verify);
  const auto udp = health("type = \"udp\", port = 1, send = \"ping\", expect_hex = \"00ff\"");
  EXPECT_EQ(udp.send, "ping");
  EXPECT_EQ(udp.expect, std::string("\0\xff", 2));
  const auto dns =
      health("type = \"dns\", query = \"example.org\", record = \"AAAA\", expect = \"2001:db8::1\"");
  EXPECT_EQ(dns.port, 53);
  EXPECT_EQ(dns.record, 28);
  EXPECT_EQ(dns.expect_address, Address::parse("2001:db8::1"));
  EXPECT_EQ(health("type = \"dns\", query = \"a\", expect = \"192.0.2.1\"").expect_address,
            Address::parse("192.0.2.1"));
  EXPECT_EQ(health("type = \"http\", port = 80, host = \"[::1]:80\"").host, "[::1]:80");
  EXPECT_EQ(health("type = \"icmp\"").type, CheckType::kIcmp);
  EXPECT_EQ(health("type = \"exec\", program = \"disk\", port = 80").program, "disk");
}

TEST_F(ConfigTest, FindsTheVipForChecksThroughTheTunnel) {
  const std::string pool =
      "[[pool]]\nname = \"p\"\nencapsulation = \"gue\"\ngue_port = 6081\nhealth = { type = \"http\", port = "
      "80, "
      "through_tunnel = true }\nbackends = [{ address = \"10.0.1.1\" }]\n";
  const auto service = [](const char* name, const char* vip, const char* protocol) {
    return "[[service]]\nname = \"" + std::string(name) + "\"\nvips = [\"" + vip + "\"]\nprotocol = \"" +
           protocol + "\"\nports = [80]\npool = \"p\"\n";
  };
  const auto config =
      load(node() + pool + service("u", "203.0.113.9", "udp") + service("t", "203.0.113.8/31", "tcp"));
  ASSERT_TRUE(config) << config.error();
  const auto& tunnel = config->pools[0].health->tunnel;
  ASSERT_TRUE(tunnel);
  EXPECT_EQ(tunnel->vip, *Address::parse("203.0.113.8")) << "TCP's";
  EXPECT_EQ(tunnel->source, config->node.encap_source4);
  EXPECT_EQ(tunnel->encapsulation, LINIMO_ENCAP_GUE);
  EXPECT_EQ(tunnel->gue_port, 6081);
  EXPECT_NE(error_of(node() + pool).find("checked through the tunnel and no service uses it"),
            std::string::npos);
  const std::string nameless =
      error_of(node() + pool +
               "[[service]]\nvips = [\"203.0.113.9\"]\nprotocol = \"tcp\"\nports = [80]\n"
               "pool = \"p\"\n");
  EXPECT_NE(nameless.find("\"name\" is missing"), std::string::npos) << nameless;
  EXPECT_EQ(nameless.find("no service uses it"), std::string::npos)
      << "which nobody can say yet: " << nameless;
  EXPECT_NE(error_of(with_pool_line("health = { type = \"icmp\", through_tunnel = true }"))
                .find("\"through_tunnel\" means nothing to a check of type icmp"),
            std::string::npos);
}

/// Of several services the first over TCP is asked, and of a prefix of sources the kernel chooses one.
TEST_F(ConfigTest, AsksTheFirstServiceOverTcpThroughTheTunnel) {
  std::string begin =
      node() +
      "[[pool]]\nname = \"q\"\nbackends = []\n[[pool]]\nname = \"p\"\nhealth = { type = "
      "\"tcp\", port = 80, through_tunnel = true }\nbackends = [{ address = \"10.0.1.1\" }]\n";
  const auto service = [](const char* name, const char* vip, const char* protocol, const char* pool) {
    return fmt::format(
        "[[service]]\nname = \"{}\"\nvips = [\"{}\"]\nprotocol = \"{}\"\nports = [80]\npool = \"{}\"\n", name,
        vip, protocol, pool);
  };
  const auto tunnel = [&](const std::string& services) {
    const auto config = load(begin + services);
    EXPECT_TRUE(config) << config.error();
    return config ? *config->pools[1].health->tunnel : TunnelCheck();
  };
  const std::string of_another = service("other", "203.0.113.1", "tcp", "q");
  EXPECT_EQ(tunnel(of_another + service("u", "203.0.113.2", "udp", "p")).vip, *Address::parse("203.0.113.2"));
  EXPECT_EQ(tunnel(service("t", "203.0.113.3", "tcp", "p") + service("u", "203.0.113.2", "udp", "p") +
                   service("later", "203.0.113.4", "tcp", "p"))
                .vip,
            *Address::parse("203.0.113.3"));
  begin.replace(begin.find("encap_source"), 12, "encap_source_prefix = [\"2001:db8::/64\"]\nencap_source");
  const TunnelCheck six = tunnel(service("six", "2001:db8:f::1", "tcp", "p"));
  EXPECT_EQ(six.vip, *Address::parse("2001:db8:f::1"));
  EXPECT_TRUE(six.source.is_zero());
}

TEST_F(ConfigTest, ReadsWhichBackendsDrain) {
  const auto config =
      load(with_backends("{ address = \"10.0.1.1\", drain = true }, { address = \"10.0.1.2\" }"));
  ASSERT_TRUE(config) << config.error();
  EXPECT_TRUE(config->pools[0].backends[0].drain);
  EXPECT_EQ(config->pools[0].backends[0].weight, 100u);
  EXPECT_FALSE(config->pools[0].backends[1].drain);
}

TEST_F(ConfigTest, ReadsWhatFollowsFromChecks) {
  const auto health = [&](const std::string& text) {
    const auto config = load(with_pool_line("health = { type = \"http\", port = 80" + text + " }"));
    EXPECT_TRUE(config) << text << ": " << config.error();
    return config ? *config->pools[0].health : HealthCheckConfig{};
  };
  using std::chrono::milliseconds;
  EXPECT_EQ(health("").down_interval, milliseconds(4000));
  EXPECT_EQ(health(", interval = \"5s\"").down_interval, milliseconds(10'000)) << "twice the interval";
  const auto whole = health(
      ", detector = \"phi\", phi_threshold = 12, fast_retry = \"100ms\", down_interval = \"30s\", panic = 0, "
      "slow_start = \"0s\", flap_half_life = \"5m\", drain_header = \"X-Drain\"");
  EXPECT_EQ(whole.detector, Detector::kPhi);
  EXPECT_EQ(whole.phi_threshold, 12);
  EXPECT_EQ(whole.fast_retry, milliseconds(100));
  EXPECT_EQ(whole.down_interval, milliseconds(30'000));
  EXPECT_EQ(whole.panic, 0u);
  EXPECT_EQ(whole.slow_start, milliseconds(0));
  EXPECT_EQ(whole.flap_half_life, milliseconds(300'000));
  EXPECT_EQ(whole.drain_header, "X-Drain");
}

TEST_F(ConfigTest, RefusesWrongChecks) {
  const std::string long_text(1025, 'a');
  const std::pair<std::string, std::string> cases[] = {
      {"type = \"http\", port = 1, path = \"healthz\"", "12:44: not a path"},
      {"type = \"http\", port = 1, path = \"/a#b\"", "12:44: not a path"},
      {"type = \"http\", port = 1, path = \"/a\\u007Fb\"", "12:44: not a path"},
      {"type = \"http\", port = 1, path = \"/" + long_text + "\"", "12:44: not a path"},
      {"type = \"http\", port = 1, host = \"\"", "12:44: not a host name"},
      {"type = \"http\", port = 1, host = \"" + long_text.substr(0, 256) + "\"", "12:44: not a host name"},
      {"type = \"http\", port = 1, status = \"200-600\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, status = [200]", "12:46: not two numbers"},
      {"type = \"http\", port = 1, status = [300, 200]", "12:52: 200 is out of range"},
      {"type = \"http\", port = 1, body = \"" + long_text + "\"", "12:44: empty or too long"},
      {"type = \"tls\", port = 1, ca_file = \"/ca\\u0000.pem\"", "12:46: not an absolute path"},
      {"type = \"udp\", port = 1, send_hex = \"\"", "12:47: not bytes in hexadecimal"},
      {"type = \"udp\", port = 1, send_hex = \"" + long_text + long_text + "\"",
       "12:47: not bytes in hexadecimal"},
      {"type = \"dns\", query = \"a\", expect = \"nonsense\"",
       "12:48: not an address that the answer may have"},
      {"type = \"ftp\"", "12:19: \"ftp\" is not known here"},
      {"type = \"icmp\", port = 1", "12:34: \"port\" means nothing to a check of type icmp"},
      {"type = \"tcp\", port = 1, path = \"/\"",
       "12:43: \"path\" means nothing to a check of type tcp; expected it with type = \"http\" or \"https\" "
       "only"},
      {"type = \"http\", port = 1, verify = true", "12:46: \"verify\" means nothing to a check of type http"},
      {"type = \"http\", port = 1, status = \"200-\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, status = \"299-200\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, status = \"200,\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, status = \"200-299-300\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, status = \"99\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, status = \"\"", "12:46: not a set of statuses"},
      {"type = \"http\", port = 1, body = \"\"", "12:44: empty or too long"},
      {"type = \"tls\", port = 1, verify = true", "12:45: there is no name to verify; expected host"},
      {"type = \"tls\", port = 1, host = \"a:b\"", "12:43: not a host name"},
      {"type = \"tls\", port = 1, ca_file = \"ca.pem\"", "12:46: not an absolute path"},
      {"type = \"tls\", port = 1, ca_file = \"/ca.pem\"", "12:46: nothing is verified"},
      {"type = \"tls\", port = 1, host = \"a\", verify = true, ca_file = \"/no/ca.pem\"",
       "12:73: not a file that can be read"},
      {"type = \"grpc\", port = 1, verify = true", "12:46: \"verify\" without TLS"},
      {"type = \"grpc\", port = 1, service = \"a b\"", "12:47: \"a b\" is not a valid name"},
      {"type = \"udp\", port = 1", "12:10: \"send\" is missing"},
      {"type = \"udp\", port = 1, send = \"\"", "12:43: empty or too long"},
      {"type = \"udp\", port = 1, send_hex = \"0\"", "12:47: not bytes in hexadecimal"},
      {"type = \"udp\", port = 1, send_hex = \"0g\"", "12:47: not bytes in hexadecimal"},
      {"type = \"udp\", port = 1, send = \"a\", send_hex = \"00\"", "12:59: send and send_hex"},
      {"type = \"dns\"", "12:10: \"query\" is missing"},
      {"type = \"dns\", query = \"a b\"", "12:34: not a host name"},
      {"type = \"dns\", query = \"a\", record = \"MX\"", "12:48: \"MX\" is not known here"},
      {"type = \"dns\", query = \"a\", expect = \"2001:db8::1\"",
       "12:48: not an address that the answer may have"},
      {"type = \"icmp\", drain_header = \"X\"",
       "12:42: \"drain_header\" means nothing to a check of type icmp"},
      {"type = \"http\", port = 1, drain_header = \"X: 1\"", "12:52: not "},
      {"type = \"icmp\", detector = \"rate\"", "12:38: \"rate\" is not known here"},
      {"type = \"icmp\", phi_threshold = 9", "12:43: phi_threshold means nothing here"},
      {"type = \"icmp\", fast_retry = \"3s\"", "12:40: "},
      {"type = \"icmp\", down_interval = \"1s\"", "12:43: "},
      {"type = \"icmp\", panic = 101", "12:35: 101 is out of range"},
      {"type = \"exec\"", "12:10: \"program\" is missing"},
      {"type = \"exec\", program = \"../bin/sh\"", "12:37: \"../bin/sh\" is not a valid name"},
      {"type = \"exec\", program = \"..\"", "12:37: a hidden file"},
      {"type = \"exec\", program = \"a\", command = \"b\"", "12:42: unknown key \"command\""},
  };
  for (const auto& [check, error] : cases) {
    const std::string found = error_of(with_pool_line("health = { " + check + " }"));
    EXPECT_TRUE(found.starts_with(error)) << check << "\ngave: " << found << "\nnot:  " << error;
    EXPECT_NE(found.find("expected"), std::string::npos) << found;
  }
}

}  // namespace
}  // namespace linimo
