// Values that TOML has no type for: durations, ports, prefixes. All throw ConfigError at the value's place;
// of a list they note what is wrong with an entry, and go on with the next.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "controlplane/config/tcp_endpoint.h"
#include "maglev/address.h"
#include "maglev/config/duration.h"
#include "maglev/config/toml_reader.h"
#include "maglev/snapshot.h"

namespace linimo {

/// An IPv4 or IPv6 address that a packet can be sent to.
Address read_unicast_address(const TomlValue& value);

/// An address of this machine and a port: "127.0.0.1:9310", "[::1]:9310".
TcpEndpoint read_tcp_endpoint(const TomlValue& value);

std::filesystem::path read_path(const TomlValue& value);

/// A list in which nothing stands twice.
template <typename Entry, typename Read>
std::vector<Entry> read_list(const TomlValue& value, std::string_view expected, size_t most, Read read) {
  std::vector<Entry> entries;
  value.each(expected, [&](const TomlValue& entry) {
    Entry one = read(entry);
    if (std::find(entries.begin(), entries.end(), one) != entries.end())
      entry.fail("listed twice", "each once");
    entries.push_back(std::move(one));
  });
  if (entries.size() > most) value.fail("too many", fmt::format("at most {}", most));
  return entries;
}

/// A non-empty list of addresses and prefixes, none of them twice; where each of them stands goes to
/// `places`.
std::vector<Prefix> read_prefixes(const TomlValue& value, std::vector<const TomlValue*>* places = nullptr);

/// "any", or a list of ports and ranges ("8000-8100") that do not overlap, except that a single port may lie
/// within a range: the more exact one wins.
std::vector<PortRange> read_ports(const TomlValue& value);
std::string ports_text(const PortRange& range);

/// Ports of different kinds never contend for a packet: one port wins over a range, a range over any.
enum class PortKind { kOne, kRange, kAny };
PortKind kind_of(const PortRange& range);

}  // namespace linimo
