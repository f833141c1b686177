// [[service]]: what may be told apart, how flows are tracked and scheduled.

#include <ctime>

#include <gtest/gtest.h>

#include "tests/unit/config_fixture.h"

namespace linimo {
namespace {

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

TEST_F(ConfigTest, RefusesManyPortsQuickly) {
  std::string ports = "1";
  for (int port = 2; port <= 65535; ++port) ports += "," + std::to_string(port);
  const auto begin = std::clock();
  const std::string found = error_of(
      with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [" + ports + "]\npool = \"p\""));
  EXPECT_TRUE(found.starts_with("14:9: too many ports")) << found;
  EXPECT_LT((std::clock() - begin) / CLOCKS_PER_SEC, 1) << "in linear time";
}

TEST_F(ConfigTest, RefusesMoreThanADataPlaneTakes) {
  const auto service = [](const std::string& name, const std::string& vips, const std::string& ports) {
    return "[[service]]\nname = \"" + name + "\"\nvips = [" + vips + "]\nprotocol = \"tcp\"\nports = [" +
           ports + "]\npool = \"web\"\n";
  };
  const auto refusal = [&](const std::string& text) {
    const std::string said = error_of(text);
    return said.substr(0, said.find('\n'));
  };
  std::string services;
  for (uint32_t i = 0; i < LINIMO_MAX_SERVICES + 1; ++i)
    services += service(std::to_string(i), "\"2001:db8:f::1\"", std::to_string(i + 1));
  EXPECT_NE(refusal(node() + std::string(kPool) + services).find("too many services; expected at most 4096"),
            std::string::npos);

  std::string vips, ports, pools;
  for (int i = 0; i < 1000; ++i)
    vips += "\"203.0." + std::to_string(i / 250) + "." + std::to_string(i % 250) + "\",";
  for (int i = 0; i < 1001; ++i) ports += std::to_string(2 * i + 1) + ",";
  EXPECT_NE(
      refusal(node() + std::string(kPool) + service("s", vips, ports)).find("too many VIPs times ports"),
      std::string::npos);

  for (int i = 0; i < 100; ++i) {
    pools += "[[pool]]\nname = \"" + std::to_string(i) +
             "\"\ntable_size = 16777259\nbackends = [ { address = \"10.0.1.1\" } ]\n";
  }
  EXPECT_NE(refusal(node() + pools + std::string(kPool) + std::string(kService))
                .find("the tables take too much memory"),
            std::string::npos);
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
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [\"x\"]" + tail),
       "14:10: not a port"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [\"80-x\"]" + tail),
       "14:10: not a port"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [\"0-5\"]" + tail),
       "14:10: not a port"},
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = []" + tail),
       "14:9: an empty list"},
      {node() + "[[service]]\nname = \"s\"\nvips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\n"
                "pool = \"q\"\n",
       "15:8: unknown pool \"q\"; expected a [[pool]] of that name"},
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
      {with_service("vips = [\"203.0.113.1\"]\nprotocol = \"tcp\"\nports = [80]\nquic = false\n"
                    "server_id_offset = 1" +
                    tail),
       "16:20: server_id_offset means nothing without QUIC"},
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

TEST_F(ConfigTest, NamesSomeOfManyPoolsThatThereAre) {
  std::string pools;
  for (const char name : std::string("abcdefghi"))
    pools += std::string("[[pool]]\nname = \"") + name + "\"\nbackends = []\n";
  const std::string found = error_of(node() + pools + std::string(kService));
  EXPECT_NE(
      found.find("unknown pool \"web\"; expected one of \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", "
                 "\"h\", ..."),
      std::string::npos)
      << found;
}

TEST_F(ConfigTest, AVipOfAllAddressesOfAFamilyHoldsNoBackendOfTheOther) {
  EXPECT_EQ(error_of(with_service("vips = [\"::/0\"]\nprotocol = \"tcp\"\nports = [80]\npool = \"p\"")),
            "accepted");
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
  const auto any = [](const char* name) {
    return "[[service]]\nname = \"" + std::string(name) +
           "\"\nvips = [\"203.0.113.10\"]\nprotocol = \"tcp\"\nports = \"any\"\npool = \"web\"\n";
  };
  EXPECT_NE(error_of(node() + std::string(kPool) + any("a") + any("b"))
                .find("service \"b\" claims 203.0.113.10 port any, which service \"a\" has"),
            std::string::npos);
  EXPECT_NE(error_of(node() + std::string(kPool) + std::string(kService) + std::string(kService))
                .find("a second service named \"web\""),
            std::string::npos);
}

}  // namespace
}  // namespace linimo
