// The [node] section: what it means, and that every mistake in it is named with file, line, column and what
// was expected.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "maglev/config/node.h"
#include "maglev/config/toml_reader.h"
#include "tests/unit/temporary_folder.h"

namespace linimo {
namespace {

class NodeConfigTest : public testing::Test {
 protected:
  tl::expected<NodeConfig, std::string> load(std::string_view text) {
    return load_node_config(folder_.write("linimo.toml", text));
  }

  /// The error without the folder's name.
  std::string error_of(std::string_view text) {
    const auto loaded = load(text);
    if (loaded) return "accepted";
    const std::string prefix = folder_.path().string() + "/";
    return loaded.error().starts_with(prefix) ? loaded.error().substr(prefix.size()) : loaded.error();
  }

  TemporaryFolder folder_;
};

TEST_F(NodeConfigTest, ReadsEveryKey) {
  const auto node = load(R"([node]
name = "lb1"
interfaces = ["eth0", "0000:01:00.0", "net_memif0,role=client"]
engine = "dpdk"
workers = 2
cores = [3, 1]
idle = "busy"
flows_per_worker = 65536
encap_source = ["2001:db8::11"]
encap_source_prefix = ["100.64.0.0/10"]
reply_rate = 7
xdp_mode = "generic"
lanes = "avx2"
mtu = 9000
hash_seed_file = "/etc/linimo/other"
rss_key_file = "/etc/linimo/key"
runtime_dir = "/run/linimo-a"
state_dir = "/var/lib/elsewhere"
)");
  ASSERT_TRUE(node) << node.error();
  EXPECT_EQ(node->name, "lb1");
  EXPECT_EQ(node->interfaces.size(), 3u);
  EXPECT_EQ(node->engine, Engine::kDpdk);
  EXPECT_EQ(node->workers, 2u);
  EXPECT_EQ(node->cores, (std::vector<uint32_t>{3, 1}));
  EXPECT_EQ(node->idle, IdlePolicy::kBusy);
  EXPECT_EQ(node->flows_per_worker, 65536u);
  EXPECT_EQ(node->encap_source4.to_string(), "100.64.0.0");
  EXPECT_EQ(node->encap_prefix4, 106u);
  EXPECT_EQ(node->encap_prefix6, 128u);
  EXPECT_EQ(node->reply_rate, 7u);
  EXPECT_EQ(node->xdp_mode, XdpMode::kGeneric);
  EXPECT_EQ(node->lanes, "avx2");
  EXPECT_EQ(node->mtu, 9000);
  EXPECT_EQ(node->encap_source6.to_string(), "2001:db8::11");
  EXPECT_EQ(node->state_dir, "/var/lib/elsewhere");
  EXPECT_EQ(node->hash_seed_file, "/etc/linimo/other");
  EXPECT_EQ(node->rss_key_file, "/etc/linimo/key");
  EXPECT_EQ(node->dataplane_socket(), "/run/linimo-a/dataplane.sock");
}

TEST_F(NodeConfigTest, FillsInDefaultsAndIgnoresOtherSections) {
  const auto node =
      load("[node]\nname = \"a\"\ninterfaces = [\"eth0\"]\n[later]\nx = 1\n[[pool]]\nnonsense = true\n");
  ASSERT_TRUE(node) << node.error();
  EXPECT_EQ(node->engine, Engine::kAuto);
  EXPECT_EQ(node->workers, 1u);
  EXPECT_EQ(node->idle, IdlePolicy::kAuto);
  EXPECT_TRUE(node->encap_source4.is_zero());
  EXPECT_EQ(node->hash_seed_file, "/etc/linimo/seed");
  EXPECT_EQ(node->control_socket(), "/run/linimo/control.sock");
}

TEST_F(NodeConfigTest, NamesEveryMistakeWithItsPlace) {
  struct Case {
    std::string_view text;
    std::string_view error;  // its beginning
  };
  const Case cases[] = {
      {"", "linimo.toml:1:1: \"node\" is missing; expected a [node] section"},
      {"[node]\nname = \"a\"\n", "linimo.toml:1:1: \"interfaces\" is missing"},
      {"[node]\nname = \"a b\"\ninterfaces = [\"e\"]\n",
       "linimo.toml:2:8: \"a b\" is not a valid name; expected a name of 1 to 63"},
      {"[node]\nname = 7\ninterfaces = [\"e\"]\n", "linimo.toml:2:8: this is an integer; expected a name"},
      {"[node]\nname = \"a\"\ninterfaces = []\n", "linimo.toml:3:14: no interface"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\", \"e\"]\n", "linimo.toml:3:20: \"e\" is listed twice"},
      {"[node]\nname = \"a\"\ninterfaces = \"eth0\"\n",
       "linimo.toml:3:14: this is a string; expected a list"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nworkers = 0\n",
       "linimo.toml:4:11: 0 is out of range; expected an "
       "integer from 1 to 64"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nworkers = 1.5\n", "linimo.toml:4:11: this is a fraction"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nworker = 1\n",
       "linimo.toml:4:1: unknown key \"worker\"; expected \"workers\", perhaps"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nzzzzzzzzz = 1\n",
       "linimo.toml:4:1: unknown key \"zzzzzzzzz\"; expected one of \"name\""},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nengine = \"DPDK\"\n",
       "linimo.toml:4:10: \"DPDK\" is not known here; expected one of \"auto\", \"dpdk\", \"xdp\""},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\ncores = [1, 2]\n",
       "linimo.toml:4:9: 2 cores for 1 workers"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source = [\"10.0.0.1\", \"10.0.0.2\"]\n",
       "linimo.toml:4:29: a second address of the same family"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source = [\"224.0.0.1\"]\n",
       "linimo.toml:4:17: not a unicast IP address"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source_prefix = [\"100.64.0.1/10\"]\n",
       "linimo.toml:4:24: not a unicast prefix"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source_prefix = [\"2001:db8::/63\"]\n",
       "linimo.toml:4:24: too short a prefix"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source = [\"10.0.0.1\"]\n"
       "encap_source_prefix = [\"100.64.0.0/10\"]\n",
       "linimo.toml:5:24: a second source for IPv4 tunnels"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nruntime_dir = \"run\"\n",
       "linimo.toml:4:15: not an absolute path"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nruntime_dir = \"/a\\u0000b\"\n",
       "linimo.toml:4:15: not an absolute path"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source = [\"10.0.0.1/32\"]\n",
       "linimo.toml:4:17: not a unicast IP address"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source_prefix = [\"224.0.0.0/10\"]\n",
       "linimo.toml:4:24: not a unicast prefix"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source = [\"2001:db8::1\"]\n"
       "encap_source_prefix = [\"2001:db8::/64\"]\n",
       "linimo.toml:5:24: a second source for IPv6 tunnels"},
      {"[node]\nname = \"\"\ninterfaces = [\"e\"]\n", "linimo.toml:2:8: \"\" is not a valid name"},
      {"[node]\nname = \"a\"\ninterfaces = [\"\"]\n", "linimo.toml:3:15: not an interface"},
      {"[node]\nname = \"a\"\ninterfaces = [\"eth 0\"]\n", "linimo.toml:3:15: not an interface"},
      {"[node]\nname = \"a\"\ninterfaces = [\"eth\\u007f\"]\n", "linimo.toml:3:15: not an interface"},
      {"[node]\nname = \"a\"\ninterfaces = [\"e\"]\nworkers = 2\ncores = [1, 1]\n",
       "linimo.toml:5:13: CPU 1 is listed twice"},
      {"[node]\nname = 2026-01-31\ninterfaces = [\"e\"]\n",
       "linimo.toml:2:8: this is a date or time; expected a name"},
      {"node = 7\n", "linimo.toml:1:8: this is an integer; expected a table with \"name\""},
      {"[node]\nname = \"a\"\nname = \"b\"\n", "linimo.toml:3:"},
      {"[node\nname = \"a\"\n", "linimo.toml:1:"},
  };
  for (const Case& wrong : cases) {
    const std::string error = error_of(wrong.text);
    EXPECT_TRUE(error.starts_with(wrong.error))
        << wrong.text << "\ngave: " << error << "\nnot:  " << wrong.error;
    EXPECT_NE(error.find("expected"), std::string::npos) << error;
  }
}

TEST_F(NodeConfigTest, RefusesMoreThanThereIsRoomFor) {
  const auto of = [&](std::string_view name, std::string_view rest) {
    return error_of(fmt::format("[node]\nname = \"{}\"\n{}\n", name, rest));
  };
  const std::string_view interfaces = "interfaces = [\"e\"]";
  EXPECT_EQ(of(std::string(63, 'n'), interfaces), "accepted");
  EXPECT_NE(of(std::string(64, 'n'), interfaces).find("is not a valid name"), std::string::npos);
  const auto many = [&](int count, size_t length) {
    std::string list;
    for (int i = 0; i < count; ++i) list += fmt::format("\"{:0{}}\", ", i, length);
    return of("a", "interfaces = [" + list + "]");
  };
  EXPECT_EQ(many(32, 256), "accepted");
  EXPECT_TRUE(many(33, 2).starts_with("linimo.toml:3:14: too many interfaces; expected at most 32"));
  EXPECT_TRUE(many(1, 257).starts_with("linimo.toml:3:15: not an interface"));
  // Sockets are named below it, and the address of one is short.
  const auto runtime_dir = [&](size_t length) {
    return of("a", fmt::format("{}\nruntime_dir = \"/{:a>{}}\"", interfaces, "", length - 1));
  };
  EXPECT_EQ(runtime_dir(90), "accepted");
  EXPECT_TRUE(runtime_dir(91).starts_with("linimo.toml:4:15: too long; expected a path of at most 90 bytes"));
}

TEST_F(NodeConfigTest, KnowsWhatMayBeANodesOwnAddress) {
  for (const char* usable : {"1.0.0.0", "10.0.0.11", "223.255.255.255", "::2", "fe80::1", "2001:db8::1"})
    EXPECT_TRUE(is_usable_source(*Address::parse(usable))) << usable;
  for (const char* unusable :
       {"0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"})
    EXPECT_FALSE(is_usable_source(*Address::parse(unusable))) << unusable;
}

TEST_F(NodeConfigTest, ReadsPrefixesOfEitherFamilyOnlyAsTheyAreWritten) {
  const auto source = [&](std::string_view prefix) {
    const auto node = load(
        fmt::format("[node]\nname = \"a\"\ninterfaces = [\"e\"]\nencap_source_prefix = [\"{}\"]\n", prefix));
    return node ? fmt::format("{} {} {}", node->encap_source6.to_string(), node->encap_prefix6,
                              node->encap_prefix4)
                : "refused";
  };
  EXPECT_EQ(source("2001:db8::/64"), "2001:db8:: 64 128");
  for (const char* wrong : {"2001:db8::/", "2001:db8::/x", "2001:db8::/64x", "2001:db8::/129", "10.0.0.0/33",
                            "10.0.0.0/99999999999"})
    EXPECT_EQ(source(wrong), "refused") << wrong;
}

// The fleet's other nodes send there: whatever has bits that a flow chooses leads nowhere.
TEST_F(NodeConfigTest, ATunnelEndsAtAWholeAddressIpv4First) {
  NodeConfig node;
  const Address four = *Address::parse("10.0.0.11"), six = *Address::parse("2001:db8::11");
  const auto has = [&] { return std::pair(has_tunnel_source(node, four), has_tunnel_source(node, six)); };
  EXPECT_TRUE(tunnel_end(node).is_zero());
  EXPECT_EQ(has(), std::pair(false, false));
  node.encap_source6 = six;
  EXPECT_EQ(tunnel_end(node), six);
  EXPECT_EQ(has(), std::pair(false, true));
  node.encap_source4 = four;
  EXPECT_EQ(tunnel_end(node), four);
  EXPECT_EQ(has(), std::pair(true, true));
  node.encap_prefix4 = 106;
  EXPECT_EQ(tunnel_end(node), six);
  node.encap_prefix6 = 64;
  EXPECT_TRUE(tunnel_end(node).is_zero());
  EXPECT_EQ(has(), std::pair(true, true));
}

TEST_F(NodeConfigTest, RefusesWhatIsNoFile) {
  const auto missing = load_node_config(folder_.path() / "none.toml");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().find("none.toml"), std::string::npos);
  EXPECT_NE(missing.error().find("expected a readable TOML file"), std::string::npos);
  EXPECT_FALSE(load_node_config(folder_.path()));
  EXPECT_FALSE(load_node_config("/dev/zero"));
  const auto unreadable = load_node_config("/proc/self/mem");  // a plain file, of which the first byte fails
  ASSERT_FALSE(unreadable);
  EXPECT_NE(unreadable.error().find("cannot be read"), std::string::npos) << unreadable.error();
  EXPECT_TRUE(error_of(std::string((16 << 20) + 1, '#')).starts_with("linimo.toml:1:1: larger than 16 MiB"));
}

std::string repeated(std::string_view text, size_t times) {
  std::string result;
  for (size_t i = 0; i < times; ++i) result += text;
  return result;
}

/// What a parser would recurse over is bounded before one sees it, wherever it stands; what only looks so is
/// read.
TEST_F(NodeConfigTest, RefusesWhatIsTooDeepToParse) {
  const std::string parts = "a" + repeated(".a", 17'000);
  EXPECT_EQ(error_of(parts + " = 1"), "linimo.toml:1:16: a key of too many parts; expected at most 8");
  EXPECT_EQ(error_of("[" + parts + "]"), "linimo.toml:1:17: a key of too many parts; expected at most 8");
  EXPECT_EQ(error_of("[[" + parts + "]]"), "linimo.toml:1:18: a key of too many parts; expected at most 8");
  EXPECT_EQ(error_of("x = 1\ny = { \"\u00e4.\"" + repeated(" . 'a'", 17'000) + " = 1 }"),
            "linimo.toml:2:54: a key of too many parts; expected at most 8");
  EXPECT_EQ(error_of("x = " + repeated("[", 100'000)),
            "linimo.toml:1:13: values nested too deep; expected at most 8 levels");
  EXPECT_EQ(error_of("x = " + repeated("{ a.b = ", 100'000)),
            "linimo.toml:1:69: values nested too deep; expected at most 8 levels");
  EXPECT_EQ(error_of("x = " + repeated("[{ a = \n", 100'000)),
            "linimo.toml:5:1: values nested too deep; expected at most 8 levels");

  const std::string deep = repeated("[", 50) + repeated(".a", 50);
  for (const std::string& harmless :
       {"# " + deep, "x = '" + deep + "'", "x = \"\\\"" + deep + "\"", "x = \"\"\"\n\"" + deep + "\"\"\"\"",
        "x = '''\n'" + deep + "''''", "x = [" + repeated("1.5, ", 50) + "]",
        "[y.z]\n" + repeated("\n[[x]]\na.b=1", 50)})
    EXPECT_NE(error_of(harmless + "\n").find("\"node\" is missing"), std::string::npos) << error_of(harmless);
}

/// Where brackets or quotes do not match, what is behind them is counted as if they did.
TEST_F(NodeConfigTest, RefusesWhatIsNotClosedOrNeverOpened) {
  for (const std::string open :
       {"x = \"a", "x = '", "x = \"\"\"a", "x = '''a''", "x = \"\\", "x = ]", "x = }"}) {
    EXPECT_TRUE(error_of(open).starts_with("linimo.toml:1:")) << open;
    EXPECT_NE(error_of(open).find("expected valid TOML"), std::string::npos) << open;
  }
  EXPECT_EQ(error_of("]}]\nx = " + repeated("[", 9)),
            "linimo.toml:2:13: values nested too deep; expected at most 8 levels");
  EXPECT_NE(error_of("x = '''a'''").find("\"node\" is missing"), std::string::npos);
}

/// Whatever it is, a message fits into a line of the log.
TEST_F(NodeConfigTest, QuotesLittleOfWhatItRefuses) {
  for (const std::string quote : {"", "\""})
    EXPECT_LT(error_of(quote + std::string(1'000'000, 'k') + " = \n").size(), 400u);
}

TEST(TomlReaderTest, ShowsNothingThatATerminalWouldObey) {
  EXPECT_EQ(shown("a\x1b[2J\n\x7f"), "a?[2J??");
  EXPECT_EQ(shown("abcd", 3), "abc...");
  EXPECT_EQ(shown("abc", 3), "abc");
}

TEST(TomlReaderTest, SuggestsOnlyWhatIsNear) {
  EXPECT_EQ(nearest_word("intervall", {"interval", "timeout"}), "interval");
  EXPECT_EQ(nearest_word("encapsulaton", {"encapsulation", "name"}), "encapsulation");
  EXPECT_EQ(nearest_word("colour", {"interval", "timeout"}), "");
  EXPECT_EQ(nearest_word(std::string(100'000, 'x'), {"interval"}), "");
}

}  // namespace
}  // namespace linimo
