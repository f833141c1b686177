#include <algorithm>

#include <fmt/format.h>

#include "controlplane/config/sections.h"
#include "controlplane/config/values.h"

namespace linimo {
namespace {

constexpr size_t kMostEndpoints = 16;
constexpr size_t kMostPeers = 256;

std::string read_endpoint(const TomlValue& value) {
  constexpr std::string_view kExpected = "host and port of an etcd member, such as \"10.0.0.1:2379\"";
  const std::string& text = value.string(kExpected);
  if (text.find("://") != std::string::npos)
    value.fail("a URL", fmt::format("{}; ca_file turns TLS on", kExpected));
  const size_t colon = text.rfind(':');
  const bool has_port = colon != std::string::npos && colon != 0 && colon + 1 < text.size() &&
                        text.find_first_not_of("0123456789", colon + 1) == std::string::npos &&
                        text.size() - colon <= 6 && std::stoul(text.substr(colon + 1)) - 1 < 65535;
  if (!has_port) value.fail("no port", kExpected);
  const std::string host = text.substr(0, colon);
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (host.find(':') != std::string::npos && !bracketed)
    value.fail("an IPv6 address without brackets", kExpected);
  if (host.find_first_of(" /\t\n") != std::string::npos) value.fail("not the name of a host", kExpected);
  return text;
}

/// One of two keys that belong together is there alone.
void expect_both(const TomlTable& table, std::string_view one, std::string_view other) {
  const TomlValue* given = table.find(one);
  if (given == nullptr || table.find(other) != nullptr) return;
  given->place().attempt(
      [&] { given->fail(fmt::format("{} without {}", one, other), fmt::format("both, or none")); });
}

void read_credentials(const TomlTable& table, FleetConfig& fleet) {
  const auto path = [&](std::string_view key, std::filesystem::path& into) {
    table.with(key, [&](const TomlValue& value) { into = read_path(value); });
  };
  path("ca_file", fleet.ca_file);
  path("cert_file", fleet.cert_file);
  path("key_file", fleet.key_file);
  path("password_file", fleet.password_file);
  path("secret_file", fleet.secret_file);
  table.with("user",
             [&](const TomlValue& value) { fleet.user = value.string("the name of a user of etcd"); });
  expect_both(table, "cert_file", "key_file");
  expect_both(table, "key_file", "cert_file");
  expect_both(table, "cert_file", "ca_file");
  expect_both(table, "user", "password_file");
  expect_both(table, "password_file", "user");
  expect_both(table, "peers", "secret_file");
}

}  // namespace

FleetConfig read_fleet(const TomlValue& value) {
  const TomlTable table = value.table({"name", "store", "endpoints", "ca_file", "cert_file", "key_file",
                                       "user", "password_file", "lease", "checkers", "peers", "secret_file"});
  FleetConfig fleet;
  table.with_required("name", "name = \"...\" of the fleet",
                      [&](const TomlValue& name) { fleet.name = name.name(32); });
  table.with("store", [&](const TomlValue& store) {
    fleet.store = store.one_of({"etcd", "file"}) == 0 ? StoreEngine::kEtcd : StoreEngine::kFile;
  });
  table.with("endpoints", [&](const TomlValue& endpoints) {
    if (fleet.store != StoreEngine::kEtcd)
      endpoints.fail("endpoints mean nothing here", "them with store = \"etcd\" only");
    fleet.endpoints =
        read_list<std::string>(endpoints, "a list of etcd's members", kMostEndpoints, read_endpoint);
  });
  if (fleet.store == StoreEngine::kEtcd && fleet.endpoints.empty()) {
    value.place().attempt([&] {
      const TomlValue* given = table.find("endpoints");
      (given != nullptr ? *given : value)
          .fail("no endpoints", "endpoints = [\"HOST:PORT\", ...] of etcd's members with store = \"etcd\"");
    });
  }
  table.with("lease", [&](const TomlValue& lease) {
    fleet.lease = read_duration(lease, std::chrono::seconds(2), std::chrono::seconds(60));
    if (fleet.lease.count() % 1000 != 0) lease.fail("not whole seconds", "whole seconds, such as \"5s\"");
  });
  fleet.checkers = static_cast<uint32_t>(table.integer_or("checkers", fleet.checkers, 1, 64));
  table.with("peers", [&](const TomlValue& peers) {
    fleet.peers = read_list<TcpEndpoint>(peers, "a list of addresses and UDP ports, one for each node",
                                         kMostPeers, read_tcp_endpoint);
  });
  read_credentials(table, fleet);
  return fleet;
}

}  // namespace linimo
