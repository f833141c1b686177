// The whole configuration: a right one is read with its defaults; a wrong one is refused with the line and
// column of the mistake and with what was expected.

#include "controlplane/config/config.h"

#include <ctime>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "controlplane/config/values.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

constexpr std::string_view kPool = R"(
[[pool]]
name = "web"
health = { type = "http", port = 80, path = "/healthz", interval = "2s", timeout = "200ms", rise = 2, fall = 3 }
backends = [ { address = "10.0.1.1" }, { address = "10.0.1.2", weight = 50 } ]
)";
constexpr std::string_view kService = R"(
[[service]]
name = "web"
vips = ["203.0.113.10", "2001:db8:f::/64"]
protocol = "tcp"
ports = [80, 443, "8000-8100"]
pool = "web"
)";

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() : seed_(folder_.write("seed", "0123456789abcdef")) {}

  /// Nine lines long, so that what follows begins in line 10.
  std::string node() const {
    return "[node]\nname = \"lb1\"\ninterfaces = [\"eth0\"]\nencap_source = [\"10.0.0.11\"]\nhash_seed_file "
           "= \"" +
           seed_.string() + "\"\n\n\n\n\n";
  }
  tl::expected<Config, std::string> load(const std::string& text) {
    return load_config(folder_.write("linimo.toml", text));
  }
  std::string error_of(const std::string& text) {
    const auto loaded = load(text);
    if (loaded) return "accepted";
    const std::string prefix = folder_.path().string() + "/linimo.toml:";
    return loaded.error().starts_with(prefix) ? loaded.error().substr(prefix.size()) : loaded.error();
  }

  /// A pool that begins in line 10, `line` being its line 12; a service after it.
  std::string with_pool_line(std::string_view line) const {
    return node() + "[[pool]]\nname = \"web\"\n" + std::string(line) +
           "\nbackends = [ { address = \"10.0.1.1\" } ]\n" + std::string(kService);
  }
  std::string with_backends(std::string_view backends) const {
    return node() + "[[pool]]\nname = \"web\"\nbackends = [ " + std::string(backends) + " ]\n" +
           std::string(kService);
  }
  /// A service of which `line` is line 12, behind a pool of two lines in lines 15 and 16.
  std::string with_service(std::string_view lines) const {
    return node() + "[[service]]\nname = \"s\"\n" + std::string(lines) +
           "\n[[pool]]\nname = \"p\"\nbackends = [ { address = \"10.0.1.1\" } ]\n";
  }

  TemporaryFolder folder_;
  std::filesystem::path seed_;
};

TEST_F(ConfigTest, ReadsWhereMetricsAreServed) {
  const std::string rest = std::string(kPool) + std::string(kService);
  EXPECT_FALSE(load(node() + rest)->metrics.listen);
  EXPECT_EQ(load(node() + "[metrics]\nlisten = \"127.0.0.1:9310\"\n" + rest)->metrics.listen->to_string(),
            "127.0.0.1:9310");
  EXPECT_EQ(load(node() + "[metrics]\nlisten = \"[::1]:9310\"\n" + rest)->metrics.listen->to_string(),
            "[::1]:9310");
  for (const auto& [listen, problem] : {std::pair("9310", "no port"),
                                        {"127.0.0.1", "no port"},
                                        {"localhost:9310", "not an IP address"},
                                        {"::1:9310", "not an IP address"},
                                        {"[127.0.0.1]:9310", "not an IP address"},
                                        {"127.0.0.1:0", "not a port"},
                                        {"127.0.0.1:65536", "not a port"},
                                        {"127.0.0.1:93x", "not a port"}}) {
    EXPECT_EQ(
        error_of(node() + "[metrics]\nlisten = \"" + listen + "\"\n" + rest),
        std::string("11:10: ") + problem +
            "; expected an address of this machine and a port, such as \"127.0.0.1:9310\" or \"[::1]:9310\"");
  }
}

TEST_F(ConfigTest, ReadsAWholeConfiguration) {
  const auto config = load(node() + std::string(kPool) + std::string(kService));
  ASSERT_TRUE(config) << config.error();
  ASSERT_EQ(config->pools.size(), 1u);
  const PoolConfig& pool = config->pools[0];
  EXPECT_EQ(pool.table_size, 65537u);
  EXPECT_EQ(pool.encapsulation, LINIMO_ENCAP_IPIP);
  ASSERT_TRUE(pool.health);
  EXPECT_EQ(pool.health->timeout, std::chrono::milliseconds(200));
  EXPECT_EQ(pool.backends[0].weight, 100u);
  EXPECT_EQ(pool.backends[1].weight, 50u);
  const ServiceConfig& service = config->services.at(0);
  EXPECT_EQ(service.protocol, 6);
  EXPECT_EQ(service.ports, (std::vector<PortRange>{{80, 80}, {443, 443}, {8000, 8100}}));
  EXPECT_EQ(service.vips[1].to_string(), "2001:db8:f::/64");
  EXPECT_EQ(service.idle_timeout_s, 900u);
  EXPECT_EQ(service.tracking, LINIMO_TRACKING_FULL);
  EXPECT_EQ(config->longest_idle_timeout(), std::chrono::seconds(900));
}

TEST_F(ConfigTest, AcceptsServicesThatOnlySeemToContend) {
  const auto config = load(node() + std::string(kPool) + std::string(kService) + R"(
[[service]]
name = "udp"
vips = ["203.0.113.10"]
protocol = "udp"
ports = [80]
pool = "web"
[[service]]
name = "rest"
vips = ["203.0.113.10"]
protocol = "tcp"
ports = "any"
pool = "web"
idle_timeout = "1h"
[[service]]
name = "exact"
vips = ["203.0.113.10"]
protocol = "tcp"
ports = [8050]
pool = "web"
[[service]]
name = "wider"
vips = ["203.0.113.0/24"]
protocol = "tcp"
ports = [80]
pool = "web"
tracking = "off"
allow_sources = ["0.0.0.0/0", "::/0"]
)");
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->services[1].idle_timeout_s, 60u);
  EXPECT_EQ(config->longest_idle_timeout(), std::chrono::hours(1));
}

TEST_F(ConfigTest, ReadsWhatQuicAndGueNeed) {
  const auto config = load(node() + R"([[pool]]
name = "p"
encapsulation = "gue"
gue_port = 5555
backends = [ { address = "10.0.1.1", server_id = "00ff" }, { address = "10.0.1.2", server_id = "0aBc" } ]
[[service]]
name = "s"
vips = ["203.0.113.1"]
protocol = "udp"
ports = [443]
pool = "p"
quic = true
server_id_offset = 18
no_backend = "reject"
)");
  ASSERT_TRUE(config) << config.error();
  const PoolConfig& pool = config->pools[0];
  EXPECT_EQ(pool.encapsulation, LINIMO_ENCAP_GUE);
  EXPECT_EQ(pool.gue_port, 5555);
  EXPECT_EQ(pool.server_id_length, 2);
  EXPECT_EQ(pool.backends[0].server_id, 0x00ffu);
  EXPECT_EQ(pool.backends[1].server_id, 0x0abcu);
  EXPECT_TRUE(config->services[0].quic);
  EXPECT_EQ(config->services[0].server_id_offset, 18);
  EXPECT_EQ(config->services[0].no_backend, LINIMO_NO_BACKEND_REJECT);
}

TEST_F(ConfigTest, RefusesWrongPools) {
  const std::pair<std::string, std::string_view> cases[] = {
      {with_pool_line("colour = 1"), "12:1: unknown key \"colour\"; expected one of \"name\""},
      {with_pool_line("encapsulation = \"vxlan\""), "12:17: \"vxlan\" is not known here"},
      {with_pool_line("gue_port = 6080"), "12:12: gue_port means nothing here"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"abc\" }"), "12:50: not a server id"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"001122334455667788\" }"),
       "12:50: not a server id"},
      {with_backends("{ address = \"10.0.1.1\", server_id = \"0x\" }"), "12:50: not a server id"},
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

TEST_F(ConfigTest, ReadsEveryKindOfCheck) {
  const auto health = [&](const std::string& text) {
    const auto config = load(with_pool_line("health = { " + text + " }"));
    EXPECT_TRUE(config) << text << ": " << config.error();
    return config ? *config->pools[0].health : HealthCheckConfig{};
  };
  EXPECT_EQ(health("type = \"tls\", port = 443").type, CheckType::kTls);
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
  const auto udp = health("type = \"udp\", port = 1, send = \"ping\", expect_hex = \"00ff\"");
  EXPECT_EQ(udp.send, "ping");
  EXPECT_EQ(udp.expect, std::string("\0\xff", 2));
  const auto dns =
      health("type = \"dns\", query = \"example.org\", record = \"AAAA\", expect = \"2001:db8::1\"");
  EXPECT_EQ(dns.port, 53);
  EXPECT_EQ(dns.record, 28);
  EXPECT_EQ(dns.expect_address, Address::parse("2001:db8::1"));
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
  EXPECT_NE(error_of(with_pool_line("health = { type = \"icmp\", through_tunnel = true }"))
                .find("\"through_tunnel\" means nothing to a check of type icmp"),
            std::string::npos);
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
  const std::pair<std::string, std::string> cases[] = {
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

TEST_F(ConfigTest, RefusesManyPortsQuickly) {
  std::string ports = "1";
  for (int port = 2; port <= 65535; ++port) ports += "," + std::to_string(port);
  const auto begin = std::clock();
  const std::string found = error_of(
      with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [" + ports + "]\npool = \"p\""));
  EXPECT_TRUE(found.starts_with("14:9: too many ports")) << found;
  EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 1) << "in linear time";
}

TEST_F(ConfigTest, RefusesWrongServices) {
  const std::string tail = "\npool = \"p\"";
  const std::pair<std::string, std::string_view> cases[] = {
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\npool = \"q\""),
       "15:8: unknown pool \"q\"; expected one of \"p\""},
      {with_service("vips = [\"203.0.113.1/24\"]\nprotocol = \"tcp\"\nports = [80]" + tail),
       "12:9: not an address or prefix; expected an address, or a prefix whose host bits are zero"},
      {with_service("vips = []\nprotocol = \"tcp\"\nports = [80]" + tail), "12:8: an empty list"},
      {with_service("vips = [\"203.0.113.1\", \"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]" + tail),
       "12:24: 203.0.113.1 is listed twice"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"sctp\"\nports = [80]" + tail),
       "13:12: \"sctp\" is not"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [0]" + tail),
       "14:10: 0 is out of range"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [\"90-80\"]" + tail),
       "14:10: not a port"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [\"1-9\", \"9-12\"]" + tail),
       "14:17: 9-12 overlaps 1-9"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = \"all\"" + tail),
       "14:9: this is a string"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\ntracking = \"half\"" + tail),
       "15:12: \"half\" is not known here"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\nno_backend = \"refuse\"" +
                    tail),
       "15:14: \"refuse\" is not known here"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\nquic = true" + tail),
       "15:8: QUIC runs over UDP"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"udp\"\nports = [80]\nquic = true" + tail),
       "15:8: the backends of pool \"p\" have no server_id"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"udp\"\nports = [80]\nserver_id_offset = 1" +
                    tail),
       "15:20: server_id_offset means nothing without QUIC"},
      {with_service(
           "vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\nscheduler = \"source_hash\"" + tail),
       "15:13: \"source_hash\" is not known here; expected one of \"maglev\", \"source-hash\""},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\ntracking = \"off\"\n"
                    "scheduler = \"round-robin\"" +
                    tail),
       "15:12: scheduler \"round-robin\" needs an entry for each flow; expected tracking = \"full\""},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\n"
                    "scheduler = \"least-connections\"\ntracking = \"adaptive\"" +
                    tail),
       "16:12: scheduler \"least-connections\" needs an entry for each flow"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\nidle_timeout = \"25h\"" +
                    tail),
       "15:16: duration out of range"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\nidle_timeout = \"1500ms\"" +
                    tail),
       "15:16: not a whole number of seconds"},
  };
  for (const auto& [text, error] : cases) {
    const std::string found = error_of(text);
    EXPECT_TRUE(found.starts_with(error)) << "gave: " << found << "\nnot:  " << error;
    EXPECT_NE(found.find("expected"), std::string::npos) << found;
  }
}

TEST_F(ConfigTest, ReadsSchedulers) {
  const auto with = [&](const std::string& lines) {
    return load(with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\n" + lines +
                             "\npool = \"p\""))
        ->services.at(0);
  };
  EXPECT_EQ(with("").scheduler, LINIMO_SCHEDULER_MAGLEV);
  const std::pair<const char*, linimo_scheduler> all[] = {
      {"maglev", LINIMO_SCHEDULER_MAGLEV},
      {"source-hash", LINIMO_SCHEDULER_SOURCE_HASH},
      {"round-robin", LINIMO_SCHEDULER_ROUND_ROBIN},
      {"weighted-round-robin", LINIMO_SCHEDULER_WEIGHTED_ROUND_ROBIN},
      {"least-connections", LINIMO_SCHEDULER_LEAST_CONNECTIONS}};
  for (const auto& [name, scheduler] : all) {
    const std::string line = "scheduler = \"" + std::string(name) + "\"";
    EXPECT_EQ(with(line).scheduler, scheduler);
    EXPECT_EQ(with(line).tracking, LINIMO_TRACKING_FULL);
    EXPECT_EQ(with(line + "\ntracking = \"full\"").scheduler, scheduler);
  }
  EXPECT_EQ(with("scheduler = \"source-hash\"\ntracking = \"adaptive\"").tracking, LINIMO_TRACKING_ADAPTIVE);
}

TEST_F(ConfigTest, RefusesServicesThatContend) {
  const auto second = [&](std::string_view ports) {
    return node() + std::string(kPool) + std::string(kService) +
           "[[service]]\nname = \"other\"\nvips = [\"198.51.100.1\", \"203.0.113.10\"]\nprotocol = "
           "\"tcp\"\nports = " +
           std::string(ports) + "\npool = \"web\"\n";
  };
  EXPECT_TRUE(error_of(second("[443]")).starts_with("24:25: service \"other\" claims 203.0.113.10 port 443"));
  EXPECT_TRUE(error_of(second("[\"8100-8200\"]")).starts_with("24:25: service \"other\" claims"));
  EXPECT_EQ(error_of(second("[8100, \"8101-8200\"]")), "accepted");
  EXPECT_NE(error_of(node() + std::string(kPool) + std::string(kService) + std::string(kService))
                .find("a second service named \"web\""),
            std::string::npos);
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
  EXPECT_TRUE(of(via + "orphan_timeout = \"8\"").starts_with("12:18: not a duration"));
  EXPECT_TRUE(of(via + "min_backends = 0").starts_with("12:16: "));
  EXPECT_TRUE(
      error_of(node() + "[anounce]\n").starts_with("10:2: unknown key \"anounce\"; expected \"announce\""));
}

TEST_F(ConfigTest, FindsEveryMistakeAtOnce) {
  const std::string text = node() +
                           "[announce]\nvia = \"frr\"\ntable = 254\n"                               // 10
                           "[[pool]]\nname = \"web\"\nencapsulation = \"vxlan\"\ntable_size = 4\n"  // 13
                           "health = { type = \"http\", prt = 80, rise = 0, interval = \"1\" }\n"   // 17
                           "backends = [ { address = \"10.0.1.1\", wight = 1 },\n"                  // 18
                           "{ address = \"10.0.1.300\", weight = -1 },\n"                           // 19
                           "{ address = \"2001:db8::1\" },\n"                                       // 20
                           "{ address = \"10.0.1.1\" } ]\n"                                         // 21
                           "[[pool]]\nbackends = [ { } ]\n"                                         // 22
                           "[[service]]\nname = \"web\"\nvips = [ \"10.0.1.1\", \"x\", \"y\" ]\n"   // 24
                           "protocol = \"sctp\"\nports = [ 0, 80, 80 ]\npool = \"web\"\n"           // 27
                           "[[service]]\nname = \"two\"\nvips = [ \"10.0.1.1\" ]\n"                 // 30
                           "protocol = \"tcp\"\nports = [ 80 ]\npool = \"other\"\n";                // 33
  const std::filesystem::path file = folder_.write("linimo.toml", text);
  std::filesystem::remove(seed_);  // of another machine
  std::vector<std::string> places;
  const ConfigReport report = check_config(file, false);
  for (const std::string& mistake : report.mistakes) {
    EXPECT_NE(mistake.find("; expected "), std::string::npos) << mistake;
    ASSERT_TRUE(mistake.starts_with(file.string() + ":")) << mistake;
    const std::string place = mistake.substr(file.string().size() + 1);
    places.push_back(place.substr(0, place.find(':', place.find(':') + 1)));
  }
  EXPECT_EQ(places,
            (std::vector<std::string>{"11:7",  "12:9",  "15:17", "16:14", "17:10", "17:27", "17:44", "17:58",
                                      "18:26", "18:38", "19:13", "19:36", "20:13", "21:13", "22:1",  "23:14",
                                      "26:22", "26:27", "27:12", "28:11", "28:18", "32:10"}))
      << fmt::format("{}", fmt::join(report.mistakes, "\n"));
  EXPECT_FALSE(report.config);
  // Whoever wants to know only whether it can be used gets the first three, and how many there are besides.
  const std::string error = load_config(file).error();
  EXPECT_TRUE(error.starts_with(file.string() + ":11:7: \"frr\" is not known here; expected")) << error;
  EXPECT_NE(error.find(fmt::format("(and {} more", places.size() - 3)), std::string::npos) << error;
}

TEST_F(ConfigTest, EndsWhereMoreMistakesWouldHelpNobody) {
  std::string text = node() + "[[pool]]\nname = \"web\"\nbackends = [\n";
  for (int i = 0; i < 5000; ++i) text += "{},\n";
  const ConfigReport report = check_config(folder_.write("linimo.toml", text + "]\n"), false);
  EXPECT_EQ(report.mistakes.size(), 101u);
}

TEST_F(ConfigTest, WarnsOfWhatIsHardlyMeant) {
  const auto pool = [](std::string_view name, std::string_view rest) {
    return fmt::format(
        "[[pool]]\nname = \"{}\"\n{}\n[[service]]\nname = \"{}\"\nvips = "
        "[\"203.0.113.10\"]\nprotocol = \"tcp\"\nports = [{}]\npool = \"{}\"\n",
        name, rest, name, 80 + name.size(), name);
  };
  const auto warnings = [&](const std::string& text) {
    const auto file = folder_.write("linimo.toml", node() + text);
    std::string all;
    const ConfigReport report = check_config(file, false);
    EXPECT_TRUE(report.config) << fmt::format("{}", fmt::join(report.mistakes, "\n"));
    for (const std::string& warning : report.warnings) all += warning.substr(file.string().size() + 1) + "\n";
    const auto loaded = load_config(file);
    EXPECT_EQ(loaded->warnings, report.warnings);
    return all;
  };
  EXPECT_EQ(warnings(std::string(kPool) + std::string(kService)), "");
  EXPECT_TRUE(warnings(pool("a", "backends = []")).starts_with("10:1: pool \"a\" has no backends"));
  EXPECT_TRUE(warnings(pool("a",
                            "backends = [{ address = \"10.0.1.1\", weight = 0 }, { address = "
                            "\"10.0.1.2\", drain = true }]"))
                  .starts_with("10:1: no backend of pool \"a\" takes new connections"));
  EXPECT_TRUE(warnings(pool("a",
                            "table_size = 101\nbackends = [{ address = \"10.0.1.1\"}, { address = "
                            "\"10.0.1.2\" }]"))
                  .starts_with("10:1: table_size 101 is small for 2 backends"));
  EXPECT_TRUE(warnings("[[pool]]\nname = \"a\"\nbackends = [{ address = \"10.0.1.1\" }]\n")
                  .starts_with("10:1: no service uses pool \"a\""));
  // A weight that is nothing beside the others' is no share.
  const auto light = [&](int weight) {
    return warnings(
        pool("a", fmt::format("backends = [{{ address = \"10.0.1.1\", weight = 65535 }}, {{ address = "
                              "\"10.0.1.2\", weight = 65535 }}, {{ address = \"10.0.1.3\", weight = "
                              "{} }}]",
                              weight)));
  };
  EXPECT_TRUE(light(1).starts_with("12:109: 10.0.1.3 of pool \"a\" gets no new connections")) << light(1);
  EXPECT_EQ(light(4), "");
}

TEST_F(ConfigTest, WarnsOfWhatThisMachineLacks) {
  const std::string text =
      "[node]\nname = \"lb1\"\ninterfaces = [\"none7\"]\nencap_source = [\"10.99.99.99\"]\nhash_seed_file = "
      "\"" +
      seed_.string() +
      "\"\n[[pool]]\nname = \"web\"\nhealth = { type = \"exec\", program = \"no-such\" }\n"
      "backends = [ { address = \"10.0.1.1\" } ]\n" +
      std::string(kService);
  const auto file = folder_.write("linimo.toml", text);
  EXPECT_TRUE(check_config(file, false).warnings.empty());
  const std::string all = fmt::format("{}", fmt::join(check_config(file, true).warnings, "\n"));
  EXPECT_NE(all.find("no interface none7"), std::string::npos) << all;
  EXPECT_NE(all.find("10.99.99.99 is not an address of this node"), std::string::npos) << all;
  EXPECT_NE(all.find("checks.d/no-such is not a program"), std::string::npos) << all;
  std::filesystem::remove(seed_);
  EXPECT_TRUE(check_config(file, false).config);
  ASSERT_EQ(check_config(file, true).mistakes.size(), 1u);
  EXPECT_NE(check_config(file, true).mistakes[0].find(":5:18: hash seed file"), std::string::npos);
}

TEST_F(ConfigTest, GuardsTheHashSeed) {
  const std::string text = node() + std::string(kPool) + std::string(kService);
  const auto first = load(text);
  ASSERT_TRUE(first);
  folder_.write("seed", "fedcba9876543210");
  EXPECT_NE(load(text)->hash_seed, first->hash_seed);

  folder_.write("seed", "0123456789abcdef", 0644);
  EXPECT_NE(error_of(text).find("5:18: hash seed file"), std::string::npos);
  EXPECT_NE(error_of(text).find("chmod 600"), std::string::npos);
  folder_.write("seed", "short", 0600);
  EXPECT_NE(error_of(text).find("has 5 bytes, fewer than 16"), std::string::npos);
  EXPECT_EQ(error_of(text).find("urandom"), std::string::npos) << "another seed would part it from its fleet";
  std::filesystem::remove(seed_);
  std::filesystem::create_directory(seed_);
  EXPECT_NE(error_of(text).find("is not a file"), std::string::npos);
  EXPECT_EQ(error_of(text).find("urandom"), std::string::npos);
  std::filesystem::remove(seed_);
  EXPECT_NE(error_of(text).find("head -c 32 /dev/urandom >"), std::string::npos);
}

TEST(ValuesTest, WritesDurationsAsPeopleDo) {
  using std::chrono::milliseconds;
  EXPECT_EQ(duration_text(milliseconds(200)), "200ms");
  EXPECT_EQ(duration_text(milliseconds(2000)), "2s");
  EXPECT_EQ(duration_text(milliseconds(90'000)), "90s");
  EXPECT_EQ(duration_text(std::chrono::hours(2)), "2h");
}

}  // namespace
}  // namespace linimo
