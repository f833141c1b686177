#include "maglev/config/node.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "maglev/config/toml_reader.h"

namespace linimo {
namespace {

constexpr int64_t kMaxWorkers = 64;
constexpr int64_t kMaxCpu = 4095;
constexpr int64_t kMinMtu = 1280, kMaxMtu = 16000;  // IPv6 (RFC 8200 5); more than any Ethernet NIC takes
constexpr size_t kMaxInterfaces = 32;
// A Unix socket's address holds 108 bytes; the longest name put behind the folder is "/dataplane.sock".
constexpr size_t kMaxRuntimeDirLength = 90;

std::vector<std::string> read_interfaces(const TomlValue& value) {
  constexpr std::string_view kExpected =
      "a list of netdev names or PCI addresses, such as [\"eth0\"] or [\"0000:01:00.0\"]";
  std::vector<std::string> interfaces;
  const bool all = value.each(kExpected, [&](const TomlValue& entry) {
    const std::string& text = entry.string("a netdev name or PCI address");
    const auto printable = [](char c) { return c > ' ' && c < 0x7f; };
    if (text.empty() || text.size() > 256 || !std::all_of(text.begin(), text.end(), printable)) {
      entry.fail("not an interface", "a netdev name or PCI address");
    }
    if (std::find(interfaces.begin(), interfaces.end(), text) != interfaces.end()) {
      entry.fail(fmt::format("\"{}\" is listed twice", text), "each interface once");
    }
    interfaces.push_back(text);
  });
  if (all && interfaces.empty()) value.fail("no interface", kExpected);
  if (interfaces.size() > kMaxInterfaces) {
    value.fail("too many interfaces", fmt::format("at most {}", kMaxInterfaces));
  }
  return interfaces;
}

std::vector<uint32_t> read_cores(const TomlValue& value, uint32_t workers) {
  std::set<uint32_t> cores;
  std::vector<uint32_t> result;
  const bool all = value.each("a list of CPU numbers, one for each worker", [&](const TomlValue& entry) {
    const auto core = static_cast<uint32_t>(entry.integer(0, kMaxCpu));
    if (!cores.insert(core).second) entry.fail(fmt::format("CPU {} is listed twice", core), "each CPU once");
    result.push_back(core);
  });
  if (all && result.size() != workers) {
    value.fail(fmt::format("{} cores for {} workers", result.size(), workers), "one core for each worker");
  }
  return result;
}

void read_encap_source(const TomlValue& value, NodeConfig& node) {
  constexpr std::string_view kExpected = "a list of at most one IPv4 and one IPv6 address of this node";
  value.each(kExpected, [&](const TomlValue& entry) {
    const std::string& text = entry.string("an IP address");
    const auto address = Address::parse(text);
    if (!address || !is_usable_source(*address))
      entry.fail("not a unicast IP address", "a source address for tunnels");
    Address& place = address->is_v4() ? node.encap_source4 : node.encap_source6;
    if (!place.is_zero()) entry.fail("a second address of the same family", kExpected);
    place = *address;
  });
}

/// Instead of a source address: one of each flow's own, so that the backends' RSS spreads.
void read_encap_source_prefix(const TomlValue& value, NodeConfig& node) {
  constexpr std::string_view kExpected =
      "a list of at most one IPv4 and one IPv6 prefix, such as [\"100.64.0.0/10\"]";
  value.each(kExpected, [&](const TomlValue& entry) {
    const auto prefix = Prefix::parse(entry.string(kExpected));
    if (!prefix || !is_usable_source(prefix->address))
      entry.fail("not a unicast prefix", "a prefix whose host bits are zero");
    const bool v4 = prefix->address.is_v4();
    if (prefix->length < (v4 ? 104U : 64U))
      entry.fail("too short a prefix", "at least a /8 (IPv4) or a /64 (IPv6)");
    Address& place = v4 ? node.encap_source4 : node.encap_source6;
    if (!place.is_zero()) {
      entry.fail(fmt::format("a second source for {} tunnels", v4 ? "IPv4" : "IPv6"),
                 "either an address in encap_source or one prefix here");
    }
    place = prefix->address;
    (v4 ? node.encap_prefix4 : node.encap_prefix6) = prefix->length;
  });
}

std::filesystem::path read_absolute_path(const TomlValue& value, size_t longest) {
  constexpr std::string_view kExpected = "an absolute path";
  const std::string& text = value.string(kExpected);
  if (!text.starts_with('/') || text.find('\0') != std::string::npos)
    value.fail("not an absolute path", kExpected);
  if (text.size() > longest) value.fail("too long", fmt::format("a path of at most {} bytes", longest));
  return text;
}

}  // namespace

// A first byte of 0, 127, 224 to 255 (IPv4) or ff (IPv6) is loopback, multicast, reserved: never a source.
bool is_usable_source(const Address& address) {
  return address.is_v4()
             ? address.bytes[12] != 0 && address.bytes[12] != 127 && address.bytes[12] < 224
             : !address.is_zero() && address.bytes[0] != 0xff && address != *Address::parse("::1");
}

NodeConfig read_node_section(const TomlTable& root) {
  const TomlTable table =
      root.require("node", "a [node] section with name and interfaces")
          .table({"name", "interfaces", "engine", "workers", "cores", "idle", "flows_per_worker",
                  "encap_source", "encap_source_prefix", "reply_rate", "xdp_mode", "lanes", "mtu",
                  "hash_seed_file", "rss_key_file", "runtime_dir", "state_dir"});
  NodeConfig node;
  table.with_required("name", "name = \"...\" in [node]",
                      [&](const TomlValue& value) { node.name = value.name(LINIMO_NAME_SIZE - 1); });
  table.with_required("interfaces", "interfaces = [...] in [node]",
                      [&](const TomlValue& value) { node.interfaces = read_interfaces(value); });
  table.with("engine", [&](const TomlValue& value) {
    node.engine = static_cast<Engine>(value.one_of({"auto", "dpdk", "xdp"}));
  });
  node.workers = static_cast<uint32_t>(table.integer_or("workers", 1, 1, kMaxWorkers));
  table.with("cores", [&](const TomlValue& value) { node.cores = read_cores(value, node.workers); });
  table.with("idle", [&](const TomlValue& value) {
    node.idle = static_cast<IdlePolicy>(value.one_of({"auto", "busy", "adaptive"}));
  });
  node.flows_per_worker = static_cast<uint64_t>(
      table.integer_or("flows_per_worker", static_cast<int64_t>(node.flows_per_worker), 1024, 1 << 30));
  table.with("encap_source", [&](const TomlValue& value) { read_encap_source(value, node); });
  table.with("encap_source_prefix", [&](const TomlValue& value) { read_encap_source_prefix(value, node); });
  node.reply_rate = static_cast<uint32_t>(table.integer_or("reply_rate", node.reply_rate, 0, 10'000'000));
  table.with("xdp_mode", [&](const TomlValue& value) {
    node.xdp_mode = static_cast<XdpMode>(value.one_of({"auto", "native", "generic"}));
  });
  table.with("lanes", [&](const TomlValue& value) {
    constexpr const char* kNames[] = {"auto", "avx512", "avx2", "off"};
    node.lanes = kNames[value.one_of({kNames[0], kNames[1], kNames[2], kNames[3]})];
  });
  node.mtu = static_cast<uint16_t>(table.integer_or("mtu", node.mtu, kMinMtu, kMaxMtu));
  table.with("hash_seed_file",
             [&](const TomlValue& value) { node.hash_seed_file = read_absolute_path(value, 4000); });
  table.with("rss_key_file",
             [&](const TomlValue& value) { node.rss_key_file = read_absolute_path(value, 4000); });
  table.with("runtime_dir", [&](const TomlValue& value) {
    node.runtime_dir = read_absolute_path(value, kMaxRuntimeDirLength);
  });
  node.state_dir = usual_state_dir(node.runtime_dir);
  table.with("state_dir", [&](const TomlValue& value) { node.state_dir = read_absolute_path(value, 4000); });
  return node;
}

std::filesystem::path usual_state_dir(const std::filesystem::path& runtime_dir) {
  const auto below_run = runtime_dir.lexically_normal().lexically_relative("/run");
  const bool is_below = !below_run.empty() && below_run != "." && *below_run.begin() != "..";
  return is_below ? "/var/lib" / below_run : runtime_dir;
}

tl::expected<NodeConfig, std::string> load_node_config(const std::filesystem::path& file) {
  try {
    const TomlValue document = read_toml(file);
    NodeConfig node = read_node_section(document.table_with_any_keys());
    document.place().throw_mistakes();
    return node;
  } catch (const ConfigError& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

}  // namespace linimo
