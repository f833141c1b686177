// The whole configuration: a right one is read with its defaults; a wrong one is refused with the line and
// column of the mistake and with what was expected. Pools, services and the rest have files of their own.

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include "controlplane/config/values.h"
#include "tests/unit/config_fixture.h"

namespace linimo {
namespace {

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

TEST_F(ConfigTest, NamesWhereATextIsNoTomlAtAll) {
  const auto file = folder_.write("linimo.toml", "[node\nname = 1\n");
  const ConfigReport report = check_config(file, true);
  EXPECT_FALSE(report.config);
  ASSERT_EQ(report.mistakes.size(), 1u);
  EXPECT_TRUE(report.mistakes[0].starts_with(file.string() + ":1:")) << report.mistakes[0];
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
  const std::string two = warnings(
      pool("a",
           "backends = [{ address = \"10.0.1.1\", weight = 65535 }, { address = \"10.0.1.2\", weight = 65535 "
           "}, { address = \"10.0.1.3\", weight = 1 }, { address = \"10.0.1.4\", weight = 1 }]"));
  EXPECT_TRUE(two.starts_with("12:109: 10.0.1.3 and 1 more backends of pool \"a\" get no new connections"))
      << two;
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

/// An address of this machine that is not loopback's, if it has one.
std::optional<std::string> own_address() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return std::nullopt;
  std::optional<std::string> found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET ||
        (entry->ifa_flags & IFF_LOOPBACK) != 0)
      continue;
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text, sizeof text);
    found = text;
  }
  freeifaddrs(list);
  return found;
}

TEST_F(ConfigTest, WarnsOfAddressesOfThisNodeWhereOthersBelong) {
  const auto own = own_address();
  if (!own) GTEST_SKIP() << "this machine has no address";
  const auto warnings = [&](const std::string& backend, const std::string& vip) {
    const std::string text = fmt::format(
        "[node]\nname = \"lb1\"\ninterfaces = [\"0000:00:04.0\", \"net_tap0\", \"lo\"]\nencap_source = "
        "[\"{}\"]\nhash_seed_file = \"{}\"\n[[pool]]\nname = \"web\"\nbackends = [ {{ address = \"{}\" }} ]\n"
        "[[service]]\nname = \"web\"\nvips = [\"{}\"]\nprotocol = \"tcp\"\nports = [80]\npool = \"web\"\n",
        *own, seed_.string(), backend, vip);
    const auto file = folder_.write("linimo.toml", text);
    return fmt::format("{}", fmt::join(check_config(file, true).warnings, "\n"));
  };
  const char* const elsewhere = "192.0.2.253";  // of the documentation's
  EXPECT_EQ(warnings(elsewhere, "192.0.2.254"), "") << "a PCI address and DPDK's own devices are no netdevs";
  EXPECT_NE(warnings(*own, "192.0.2.254").find(":8:26: backend " + *own + " is an address of this node"),
            std::string::npos)
      << warnings(*own, "192.0.2.254");
  EXPECT_NE(warnings(elsewhere, *own).find(":11:9: " + *own + " is an address of this node, and would be"),
            std::string::npos)
      << warnings(elsewhere, *own);
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
  folder_.write("seed", std::string(4096, 'a'), 0600);
  EXPECT_TRUE(load(text));
  folder_.write("seed", std::string(4097, 'a'), 0600);
  EXPECT_NE(error_of(text).find("is larger than 4096 bytes"), std::string::npos);
  std::filesystem::remove(seed_);
  std::filesystem::create_directory(seed_);
  EXPECT_NE(error_of(text).find("is not a file"), std::string::npos);
  EXPECT_EQ(error_of(text).find("urandom"), std::string::npos);
  std::filesystem::remove(seed_);
  std::filesystem::create_symlink("not-mounted/seed", seed_);
  EXPECT_NE(error_of(text).find("is a symbolic link to not-mounted/seed, which does not exist"),
            std::string::npos);
  EXPECT_EQ(error_of(text).find("urandom"), std::string::npos);
  std::filesystem::remove(seed_);
  std::filesystem::create_symlink("seed", seed_);  // to itself
  EXPECT_NE(error_of(text).find("cannot be read: Too many levels of symbolic links"), std::string::npos);
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
