#include "controlplane/config/values.h"

#include <charconv>
#include <set>

#include <fmt/format.h>

namespace linimo {
namespace {

std::optional<uint16_t> parse_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return port;
}

constexpr size_t kMaxPorts = 1024;
constexpr std::string_view kPortsExpected =
    "\"any\", or a list of ports from 1 to 65535 and ranges such as \"8000-8100\"";

PortRange read_port_entry(const TomlValue& value) {
  if (value.is_integer()) {
    const auto port = static_cast<uint16_t>(value.integer(1, 65535));
    return {port, port};
  }
  const std::string_view text = value.string(kPortsExpected);
  const auto dash = text.find('-');
  const auto first = parse_port(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : parse_port(text.substr(dash + 1));
  if (!first || !last || *first == 0 || *last < *first)
    value.fail("not a port or a range of ports", kPortsExpected);
  return {*first, *last};
}

bool overlap(const PortRange& a, const PortRange& b) {
  return kind_of(a) == kind_of(b) && a.first <= b.last && b.first <= a.last;
}

}  // namespace

Address read_unicast_address(const TomlValue& value) {
  constexpr std::string_view kExpected = "an IPv4 or IPv6 address of one host";
  const auto address = Address::parse(value.string(kExpected));
  if (!address) value.fail("not an IP address", kExpected);
  const bool usable =
      address->is_v4()
          ? address->bytes[12] != 0 && address->bytes[12] != 127 && address->bytes[12] < 224
          : !address->is_zero() && address->bytes[0] != 0xff && *address != *Address::parse("::1");
  if (!usable) value.fail("loopback, multicast or unspecified", kExpected);
  return *address;
}

TcpEndpoint read_tcp_endpoint(const TomlValue& value) {
  constexpr std::string_view kExpected =
      "an address of this machine and a port, such as \"127.0.0.1:9310\" or \"[::1]:9310\"";
  const std::string_view text = value.string(kExpected);
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) value.fail("no port", kExpected);
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = Address::parse(host);
  const auto port = parse_port(text.substr(colon + 1));
  // Without brackets "::1:9310" would be read in two ways.
  if (!address || bracketed == (host.find(':') == std::string_view::npos))
    value.fail("not an IP address", kExpected);
  if (!port || *port == 0) value.fail("not a port", kExpected);
  return {*address, *port};
}

std::filesystem::path read_path(const TomlValue& value) {
  constexpr std::string_view kExpected = "the absolute path of a file";
  const std::string& path = value.string(kExpected);
  if (!path.starts_with('/') || path.find('\0') != std::string::npos)
    value.fail("not such a path", kExpected);
  return path;
}

std::vector<Prefix> read_prefixes(const TomlValue& value, std::vector<const TomlValue*>* places) {
  constexpr std::string_view kExpected =
      "a list of addresses or prefixes without host bits, such as [\"203.0.113.10\", \"2001:db8:f::/64\"]";
  std::vector<Prefix> prefixes;
  std::set<Prefix> seen;
  const bool all = value.each(kExpected, [&](const TomlValue& entry) {
    const std::string& text = entry.string("an address or a prefix");
    const auto prefix = Prefix::parse(text);
    if (!prefix) entry.fail("not an address or prefix", "an address, or a prefix whose host bits are zero");
    if (!seen.insert(*prefix).second) {
      entry.fail(fmt::format("{} is listed twice", prefix->to_string()), "each prefix once");
    }
    prefixes.push_back(*prefix);
    if (places != nullptr) places->push_back(&entry);
  });
  if (all && prefixes.empty()) value.fail("an empty list", kExpected);
  return prefixes;
}

PortKind kind_of(const PortRange& range) {
  if (range == PortRange{}) return PortKind::kAny;
  return range.first == range.last ? PortKind::kOne : PortKind::kRange;
}

std::vector<PortRange> read_ports(const TomlValue& value) {
  if (value.is_string() && value.string(kPortsExpected) == "any") return {PortRange{}};
  if (value.array(kPortsExpected).size() > kMaxPorts) {
    value.fail("too many ports",
               fmt::format("at most {} ports and ranges; use ranges or \"any\"", kMaxPorts));
  }
  std::vector<PortRange> ports;
  const bool all = value.each(kPortsExpected, [&](const TomlValue& entry) {
    const PortRange range = read_port_entry(entry);
    for (const PortRange& other : ports) {
      if (overlap(range, other)) {
        entry.fail(fmt::format("{} overlaps {}", ports_text(range), ports_text(other)), "each port once");
      }
    }
    ports.push_back(range);
  });
  if (all && ports.empty()) value.fail("an empty list", kPortsExpected);
  return ports;
}

std::string ports_text(const PortRange& range) {
  switch (kind_of(range)) {
    case PortKind::kAny:
      return "any";
    case PortKind::kOne:
      return fmt::format("{}", range.first);
    case PortKind::kRange:
      break;
  }
  return fmt::format("{}-{}", range.first, range.last);
}

}  // namespace linimo
